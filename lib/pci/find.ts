/** Which functions this machine has. */
import { readdirSync, readFileSync } from 'node:fs';

const DEVICES = '/sys/bus/pci/devices';

/**
 * Addresses of the functions with these ids, ascending; none on a system without Linux's sysfs.
 *
 * @param root prefix of `/sys`, for a tree kept elsewhere
 */
export function findPci(vendorId: number, deviceId: number, root = ''): string[] {
  let addresses: string[];
  try {
    addresses = readdirSync(root + DEVICES);
  } catch {
    return [];
  }
  const id = (address: string, file: string): number =>
    Number(readFileSync(`${root}${DEVICES}/${address}/${file}`, 'utf8'));
  return addresses
    .filter((address) => id(address, 'vendor') === vendorId && id(address, 'device') === deviceId)
    .sort();
}
