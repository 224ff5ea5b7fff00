/**
 * Child of open.test.ts: becomes an ordinary user, opens a function and allocates 128 KiB, then 4 KiB. Prints how
 * that went as JSON.
 */
import { DmaError } from '../../lib/errors.ts';
import { loadAddon } from '../../lib/native/load.ts';
import { openVfio } from '../../lib/pci/vfio/open.ts';

// While it may still be read: the checkout can be in a folder that nobody else may enter.
loadAddon();

const [address = '', uid = '', iommu] = process.argv.slice(2) as [string, string, 'iommufd' | undefined];
process.setgroups!([]);
process.setgid!(Number(uid));
process.setuid!(Number(uid));

const result: { code?: string; message?: string; small?: boolean; domain?: string } = {};
try {
  const { transport, dma } = openVfio(address, iommu === undefined ? {} : { iommu });
  result.domain = dma.domain!.name;
  try {
    dma.allocCoherent(128 * 1024);
  } catch (error) {
    report(error);
  }
  result.small = dma.allocCoherent(4096).size === 4096;
  transport.close();
  dma.close();
} catch (error) {
  report(error);
}
console.log(JSON.stringify(result));

function report(error: unknown): void {
  if (!(error instanceof DmaError)) throw error;
  result.code = error.code;
  result.message = error.message;
}
