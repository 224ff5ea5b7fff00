/** The BARs of a function, and their addresses: /sys/bus/pci/devices/<address>/resource, one line for each BAR. */
import { DmaError } from '../../errors.ts';
import { readText } from '../../files.ts';
import type { BarInfo } from '../bar.ts';
import { PCI_BARS } from '../header.ts';

/** IORESOURCE_* of include/linux/ioport.h. */
const IO = 0x100n;
const MEMORY = 0x200n;
const PREFETCH = 0x2000n;
const MEM_64 = 0x10_0000n;
/** The kernel has found no address for the BAR: `start` is not an address. */
const UNSET = 0x2000_0000n;

export interface BarResource {
  readonly info: BarInfo;
  /** Address on the CPU's bus. */
  readonly start: bigint;
}

/**
 * @param folder of the function in /sys
 * @returns by BAR number; undefined where the function has none
 * @throws DmaError EIO a line of the file cannot be right
 */
export function readResources(folder: string): (BarResource | undefined)[] {
  const path = `${folder}/resource`;
  const lines = readText(path)?.trimEnd().split('\n') ?? [];
  return Array.from({ length: PCI_BARS }, (_, index) => parseLine(path, index, lines[index] ?? ''));
}

function parseLine(path: string, index: number, line: string): BarResource | undefined {
  const match = /^(0x[0-9a-f]{1,16}) (0x[0-9a-f]{1,16}) (0x[0-9a-f]{1,16})$/.exec(line.trim());
  const [start, end, flags] = match === null ? [1n, 0n, 0n] : match.slice(1).map(BigInt);
  if (flags === 0n && start === 0n && end === 0n) return undefined;
  const isPlaced = (flags! & UNSET) === 0n && start! <= end! && end! - start! < 2n ** 46n;
  if (!isPlaced || (flags! & (IO | MEMORY)) === 0n) {
    throw new DmaError('EIO', `${path} makes no sense at BAR ${index}: ${JSON.stringify(line)}`, {
      remedy: 'check that the kernel gave the BAR an address (dmesg | grep -i BAR)',
    });
  }
  const io = (flags! & IO) !== 0n;
  return {
    start: start!,
    info: {
      index,
      size: Number(end! - start!) + 1,
      kind: io ? 'io' : 'memory',
      is64Bit: (flags! & MEM_64) !== 0n,
      prefetchable: (flags! & PREFETCH) !== 0n,
    },
  };
}
