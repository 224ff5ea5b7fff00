/** Which functions this machine has. */
import { checkText } from '../arguments.ts';
import { listFolder, readText } from '../files.ts';
import { DEVICES } from './facts.ts';

/**
 * Addresses of the functions with these ids, ascending; none on a system without Linux's sysfs.
 *
 * @param root prefix of `/sys`, for a tree kept elsewhere
 */
export function findPci(vendorId: number, deviceId: number, root = ''): string[] {
  checkText(root, 'the root of the tree');
  // A function may go meanwhile: it has no ids then.
  const id = (address: string, file: string): number =>
    Number(readText(`${root}${DEVICES}/${address}/${file}`) ?? Number.NaN);
  return listFolder(root + DEVICES).filter(
    (address) => id(address, 'vendor') === vendorId && id(address, 'device') === deviceId,
  );
}
