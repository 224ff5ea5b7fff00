/**
 * I/O virtual addresses, those above 4 GiB first, as Linux gives them with iommu.forcedac=1: a driver that drops the
 * high half of an address passes on nearly every machine otherwise, since there is room below for a long time.
 */
import type { IovaRange } from './address-space.ts';
import { IovaAllocator, type IovaSource } from './iova.ts';
import { trimRanges } from './page-ranges.ts';

const SPAN = 2 ** 32;

/** Gives out addresses above 4 GiB before those below, where the mask allows it. */
export class HighFirstIova implements IovaSource {
  /** Undefined where there is no page of such addresses. */
  readonly #low: IovaAllocator | undefined;
  readonly #high: IovaAllocator | undefined;
  /** Both as one, for what an empty address space would hold. */
  readonly #all: IovaAllocator;

  /** Parameters and errors as those of IovaAllocator. */
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
