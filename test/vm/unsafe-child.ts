/** Lets the function of its first argument start DMA, and ends without closing it: by `exit` or by `kill`. */
import { writeSync } from 'node:fs';
import { openPciUnsafe, PhysicalHugepages } from '../../lib/index.ts';

const [address = '', end] = process.argv.slice(2);
const fn = await openPciUnsafe(address, { memory: new PhysicalHugepages() });
fn.setMaster();
fn.dma.allocCoherent(4096);
writeSync(1, `bus master ${fn.busMaster ? 'on' : 'off'}\n`);
if (end === 'kill') process.kill(process.pid, 'SIGKILL');
process.exit(0);
