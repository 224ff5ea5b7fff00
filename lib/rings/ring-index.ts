/** A place in a ring, and which time round it is. */
import { describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';

export class RingIndex {
  readonly entries: number;
  #index = 0;
  #phase: 0 | 1 = 1;

  /** At entry 0 of so many, the first time round. @throws DmaError EINVAL */
  constructor(entries: number) {
    if (!Number.isInteger(entries) || entries < 1 || entries > 2 ** 30) {
      throw new DmaError('EINVAL', `a ring of ${describe(entries)} entries`, { remedy: 'use 1 to 2^30' });
    }
    this.entries = entries;
  }

  /** 0 to `entries` - 1. */
  get index(): number {
    return this.#index;
  }

  /**
   * 1 the first time round, then 0, 1, ...: what a device that marks its entries with a phase bit writes there now, in a
   * ring that was zeroed (NVMe 4.6, and the wrap counters of others).
   */
  get phase(): 0 | 1 {
    return this.#phase;
  }

  /** To the next entry, or so many on: at most once round. Returns the new index. */
  advance(count = 1): number {
    const next = this.#index + count;
    if (next < this.entries) {
      this.#index = next;
    } else {
      this.#index = next - this.entries;
      this.#phase = this.#phase === 1 ? 0 : 1;
    }
    return this.#index;
  }

  /** Entries from `index` up to here, going round: what a producer has put out beyond a consumer that stands there. */
  since(index: number): number {
    const distance = this.#index - index;
    return distance < 0 ? distance + this.entries : distance;
  }

  /** Back to entry 0, the first time round: the ring was zeroed, and the device told. */
  reset(): void {
    this.#index = 0;
    this.#phase = 1;
  }
}
