/**
 * Addresses that PCI functions and bridges answer to. If an IOVA equals one of them, a bridge may route the
 * access to that function, and it never reaches the IOMMU. The kernel's dma-iommu therefore reserves the ranges
 * that the host bridge passes on (iova_reserve_pci_windows), and this library does the same. The kernel does not
 * tell user space those ranges. Below 4 GiB the bridge has one hole for all functions, so the addresses between
 * the functions count as the bridge's, too.
 */
import { listFolder, readText } from '../../files.ts';
import type { IovaRange } from '../../iommu/address-space.ts';
import { DEVICES } from '../facts.ts';

const IORESOURCE_MEM = 0x200n;
const MIB = 2 ** 20;
const FOUR_GIB = 2 ** 32;

/** The ranges, unsorted. `root` is a prefix of `/sys`, for a recorded tree. */
export function bridgeRanges(root = ''): IovaRange[] {
  const ranges = listFolder(root + DEVICES)
    .flatMap((address) => (readText(`${root}${DEVICES}/${address}/resource`) ?? '').split('\n'))
    .flatMap(memoryRange);
  // Legacy ranges (VGA, option ROMs) below 1 MiB are not part of the hole.
  const hole = ranges.filter(({ start, end }) => start >= MIB && end < FOUR_GIB);
  if (hole.length === 0) return ranges;
  const start = Math.min(...hole.map((range) => range.start));
  const end = Math.max(...hole.map((range) => range.end));
  return [...ranges.filter((range) => !hole.includes(range)), { start, end }];
}

/** One line of a sysfs `resource` file: start, end and flags, all zero when unused. */
function memoryRange(line: string): IovaRange[] {
  const match = /^(0x[0-9a-f]+) (0x[0-9a-f]+) (0x[0-9a-f]+)$/.exec(line.trim());
  if (match === null) return [];
  const [start, end, flags] = match.slice(1).map(BigInt) as [bigint, bigint, bigint];
  if ((flags & IORESOURCE_MEM) === 0n || end <= start || start > Number.MAX_SAFE_INTEGER) return [];
  return [{ start: Number(start), end: Math.min(Number(end), Number.MAX_SAFE_INTEGER) }];
}
