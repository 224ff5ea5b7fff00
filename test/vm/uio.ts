/** Drivers and huge pages of the guest, as a person would arrange them by hand. */
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';

const sysfs = (address: string): string => `/sys/bus/pci/devices/${address}`;

/** Name of the driver that holds a function. */
export function driverOf(address: string): string | undefined {
  const link = `${sysfs(address)}/driver`;
  return existsSync(link) ? basename(readlinkSync(link)) : undefined;
}

/** Give a function to a driver, or to none. */
export function bind(address: string, driver: string | undefined): void {
  if (driverOf(address) !== undefined) writeFileSync(`${sysfs(address)}/driver/unbind`, address);
  writeFileSync(`${sysfs(address)}/driver_override`, `${driver ?? ''}\n`);
  if (driver !== undefined) writeFileSync('/sys/bus/pci/drivers_probe', address);
  if (driverOf(address) !== driver) throw new Error(`${address} is bound to ${driverOf(address)}`);
}

/** `uioN` of a function whose driver hands it out. */
export function nodeOf(address: string): string {
  const [node] = readdirSync(`${sysfs(address)}/uio`);
  if (node === undefined) throw new Error(`${address} has no UIO device`);
  return node;
}

/** Reserve huge pages; returns how many there are. */
export function reserveHugepages(count: number): number {
  // The kernel moves what is in use together first, so that the huge pages it finds lie side by side.
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  writeFileSync('/proc/sys/vm/compact_memory', '1');
  writeFileSync('/proc/sys/vm/nr_hugepages', String(count));
  return hugepages('Total');
}

export function hugepages(which: 'Total' | 'Free'): number {
  const line = new RegExp(`^HugePages_${which}:\\s*(\\d+)`, 'm').exec(readFileSync('/proc/meminfo', 'utf8'));
  return Number(line?.[1]);
}
