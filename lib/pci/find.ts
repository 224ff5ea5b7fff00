/** Finding the functions of this machine by vendor and device id. */
import { checkText } from '../arguments.ts';
import { listFolder, readText } from '../files.ts';
import { DEVICES } from './facts.ts';

/**
 * The addresses of the functions with these ids, ascending; none on a system without Linux's sysfs.
 *
 * @param root prefix of `/sys`, for a recorded tree
 */
export function findPci(vendorId: number, deviceId: number, root = ''): string[] {
  checkText(root, 'the root of the tree');
  // A function may disappear while this code runs: it has no ids then.
  const id = (address: string, file: string): number =>
    Number(readText(`${root}${DEVICES}/${address}/${file}`) ?? Number.NaN);
  return listFolder(root + DEVICES).filter(
    (address) => id(address, 'vendor') === vendorId && id(address, 'device') === deviceId,
  );
}
