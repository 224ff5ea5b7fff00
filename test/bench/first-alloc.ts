/** A program that needs one buffer of a simulated device, with the package as it is published; see rows/startup.ts. */
import { openPci } from 'userdma';
import { EduModel, simulate } from 'userdma/sim';

const fn = await openPci(simulate(new EduModel()), { debug: false });
fn.dma.allocCoherent(4096);
fn.close();
