/**
 * I/O virtual addresses above 4 GiB first, as Linux allocates them with iommu.forcedac=1. With the usual order there
 * is room below 4 GiB for a long time, so a driver that drops the high half of an address would pass its tests on
 * nearly every machine.
 */
import type { IovaRange } from './address-space.ts';
import { IovaAllocator, type IovaSource } from './iova.ts';
import { trimRanges } from './page-ranges.ts';

const SPAN = 2 ** 32;

/** Allocates addresses above 4 GiB before those below, if the mask allows it. */
export class HighFirstIova implements IovaSource {
  /** Undefined if no page below 4 GiB is usable. */
  readonly #low: IovaAllocator | undefined;
  readonly #high: IovaAllocator | undefined;
  /** All addresses in one allocator. It answers questions about an empty address space. */
  readonly #all: IovaAllocator;

  /** The parameters and errors are those of IovaAllocator. */
  constructor(ranges: readonly IovaRange[], pageSize: number) {
    this.#all = new IovaAllocator(ranges, pageSize);
    const part = (from: number, to: number): IovaAllocator | undefined => {
      const inside = ranges
        .map(({ start, end }) => ({ start: Math.max(start, from), end: Math.min(end, to) }))
        .filter(({ start, end }) => start <= end);
      return trimRanges(inside, pageSize).length === 0 ? undefined : new IovaAllocator(inside, pageSize);
    };
    this.#low = part(0, SPAN - 1);
    this.#high = part(SPAN, Number.MAX_SAFE_INTEGER);
  }

  get used(): number {
    return (this.#low?.used ?? 0) + (this.#high?.used ?? 0);
  }

  alloc(size: number, limit: number): number {
    const high = limit >= SPAN ? (this.#high?.alloc(size, limit) ?? -1) : -1;
    return high >= 0 ? high : (this.#low?.alloc(size, limit) ?? -1);
  }

  free(iova: number, size: number): boolean {
    return (iova >= SPAN ? this.#high : this.#low)?.free(iova, size) ?? false;
  }

  supports(limit: number, size?: number): boolean {
    return this.#all.supports(limit, size);
  }
}
