/** The work of the simulated machine's firmware before a driver starts: it gives each BAR an address. */
import { DmaError } from '../errors.ts';
import type { BarInfo } from '../pci/bar.ts';

/** A range of bus addresses for BARs. */
interface Hole {
  readonly start: number;
  readonly end: number;
}

/**
 * Below 4 GiB the hole is between the end of memory and the interrupt controllers of a PC. If the BARs need more
 * room, memory ends earlier, as on a PC.
 */
const LOW_HOLES: readonly Hole[] = [0xc000_0000, 0x8000_0000, 0x4000_0000].map((start) => ({
  start,
  end: 0xfec0_0000,
}));
/** Above all memory, where JavaScript numbers are still exact. */
const HIGH_HOLE: Hole = { start: 2 ** 36, end: 2 ** 53 };
const PORT_HOLE: Hole = { start: 0xc000, end: 0x1_0000 };

/**
 * The address of each BAR by its number: a multiple of its size, never 0, and below 4 GiB for one of 32 bits.
 * @throws DmaError EINVAL they do not fit a machine
 */
export function placeBars(bars: readonly BarInfo[]): ReadonlyMap<number, number> {
  const of = (kind: BarInfo['kind'], is64Bit: boolean) =>
    bars.filter((bar) => bar.kind === kind && bar.is64Bit === is64Bit);
  const [low, high, ports] = [of('memory', false), of('memory', true), of('io', false)];
  return new Map([
    ...placeIn(LOW_HOLES, low, 'memory BARs of 32 bits'),
    ...placeIn([HIGH_HOLE], high, 'memory BARs of 64 bits'),
    ...placeIn([PORT_HOLE], ports, 'I/O BARs'),
  ]);
}

/** Places all BARs in the first hole that has room for them. */
function placeIn(holes: readonly Hole[], bars: readonly BarInfo[], what: string): [number, number][] {
  for (const hole of holes) {
    const placed = fill(hole, bars);
    if (placed !== undefined) return placed;
  }
  const bytes = bars.reduce((sum, { size }) => sum + size, 0);
  throw new DmaError('EINVAL', `the model describes ${what} of ${bytes} bytes in all`, {
    remedy: 'no machine has room for them: describe smaller ones, or memory BARs of 64 bits',
  });
}

/** Places the largest BAR first, so that there are no gaps between them. */
function fill({ start, end }: Hole, bars: readonly BarInfo[]): [number, number][] | undefined {
  const placed: [number, number][] = [];
  let free = start;
  for (const { index, size } of [...bars].sort((a, b) => b.size - a.size)) {
    const address = Math.ceil(free / size) * size;
    free = address + size;
    if (free > end) return undefined;
    placed.push([index, address]);
  }
  return placed;
}
