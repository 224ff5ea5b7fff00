/** A program that needs one buffer of a simulated device; see rows/startup.ts. */
import { openPci } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';

const fn = await openPci(simulate(new EduModel()), { debug: false });
fn.dma.allocCoherent(4096);
fn.close();
