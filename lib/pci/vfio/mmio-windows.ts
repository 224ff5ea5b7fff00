/**
 * Addresses that PCI functions and bridges answer to. An IOVA equal to one of them may be routed to that function
 * and never reach the IOMMU, so dma-iommu reserves the windows of the host bridge (iova_reserve_pci_windows), and
 * so do we. Those windows are not told to user space; below 4 GiB, where the bridge has one hole for all, what lies
 * between the functions is counted to them.
 */

import { listFolder, readText } from '../../files.ts';
import type { IovaRange } from '../../iommu/address-space.ts';
import { DEVICES } from './sysfs.ts';

const IORESOURCE_MEM = 0x200n;
const MIB = 2 ** 20;
const FOUR_GIB = 2 ** 32;

/** In no particular order. `root` is a prefix of `/sys`, for a recorded tree. */
export function mmioWindows(root = ''): IovaRange[] {
  const windows = listFolder(root + DEVICES)
    .flatMap((address) => (readText(`${root}${DEVICES}/${address}/resource`) ?? '').split('\n'))
    .flatMap(memoryWindow);
  // Legacy windows (VGA, option ROMs) below 1 MiB are not part of the hole.
  const hole = windows.filter(({ start, end }) => start >= MIB && end < FOUR_GIB);
  if (hole.length === 0) return windows;
  const start = Math.min(...hole.map((window) => window.start));
  const end = Math.max(...hole.map((window) => window.end));
  return [...windows.filter((window) => !hole.includes(window)), { start, end }];
}

/** One line of a sysfs `resource` file: start, end and flags, all zero when unused. */
function memoryWindow(line: string): IovaRange[] {
  const match = /^(0x[0-9a-f]+) (0x[0-9a-f]+) (0x[0-9a-f]+)$/.exec(line.trim());
  if (match === null) return [];
  const [start, end, flags] = match.slice(1).map(BigInt) as [bigint, bigint, bigint];
  if ((flags & IORESOURCE_MEM) === 0n || end <= start || start > Number.MAX_SAFE_INTEGER) return [];
  return [{ start: Number(start), end: Math.min(Number(end), Number.MAX_SAFE_INTEGER) }];
}
