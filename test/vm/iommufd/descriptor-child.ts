/**
 * Child of iommufd.test.ts: an ordinary user that was handed the node of a function as descriptor 3 and /dev/iommu as 4.
 * Prints the address of the function, its domain, and how much memory it got.
 */
import { openPci } from '../../../lib/index.ts';
import { loadAddon } from '../../../lib/native/load.ts';

const NOBODY = 65534;
// While it may still be read: the checkout can be in a folder that other users may not enter.
loadAddon();
process.setgroups!([]);
process.setgid!(NOBODY);
process.setuid!(NOBODY);

using fn = await openPci({ fd: 3, iommufd: 4 });
const memory = fn.dma.allocCoherent(4096);
console.log(fn.address, fn.domain?.name, memory.size);
