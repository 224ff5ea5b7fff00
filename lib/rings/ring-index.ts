/** A place in a ring, and the round that it belongs to. */
import { argumentError, checkOptions, describe, type OptionChecks, oneOf } from '../arguments.ts';
import { DmaError } from '../errors.ts';

/** Options of RingIndex. */
export interface RingIndexOptions {
  /**
   * Count freely in so many bits, 8, 16 or 32, like the indices of a virtio ring. `count` then continues beyond the
   * last entry, and wraps at the end of these bits. So a full ring differs from an empty one. Default: `count` is
   * `index`.
   */
  readonly bits?: 8 | 16 | 32;
}

const CHECKS: OptionChecks<Required<RingIndexOptions>> = { bits: oneOf(8, 16, 32) };

/** The most entries of a ring. Indices are then small integers of V8. */
const MOST_ENTRIES = 2 ** 30;

/** A producer's or consumer's place in a ring, with the phase or wrap bit that goes with it. */
export class RingIndex {
  readonly entries: number;
  /** The upper limit of `count`, exclusive. */
  readonly #range: number;
  #index = 0;
  #count = 0;
  #phase: 0 | 1 = 1;

  /**
   * At entry 0 of so many, in the first round.
   * @throws DmaError EINVAL the ring cannot exist; a ring that counts freely must have a power of two of entries,
   *   which its bits can count
   */
  constructor(entries: number, options: RingIndexOptions = {}) {
    checkOptions<RingIndexOptions>(options, 'RingIndex', CHECKS);
    if (!Number.isInteger(entries) || entries < 1 || entries > MOST_ENTRIES) {
      throw refusal(entries, 'use 1 to 2^30');
    }
    this.entries = entries;
    this.#range = options.bits === undefined ? entries : 2 ** options.bits;
    if (this.#range % entries !== 0) {
      throw refusal(entries, `use a power of two up to ${this.#range}: its index counts freely`);
    }
  }

  /** 0 to `entries` - 1. */
  get index(): number {
    return this.#index;
  }

  /**
   * The number that driver and device exchange: the entries that were passed so far, in as many bits as the ring
   * counts. Without the option it is `index`.
   */
  get count(): number {
    return this.#count;
  }

  /**
   * 1 in the first round, then 0, 1, ... A device that marks its entries with a phase bit writes this value in the
   * present round, in a ring that was zeroed (NVMe 4.6, and the wrap counters of other devices).
   */
  get phase(): 0 | 1 {
    return this.#phase;
  }

  /** Moves to the next entry, or by `count` entries, at most one round. Returns the new index. */
  advance(count = 1): number {
    if (typeof count !== 'number' || count >>> 0 !== count || count > this.entries) {
      throw argumentError('the number of entries to advance', count, `pass 0 to ${this.entries}`);
    }
    const next = this.#index + count;
    if (next < this.entries) {
      this.#index = next;
    } else {
      this.#index = next - this.entries;
      this.#phase = this.#phase === 1 ? 0 : 1;
    }
    const total = this.#count + count;
    this.#count = total < this.#range ? total : total - this.#range;
    return this.#index;
  }

  /**
   * The number of entries from `count` to here: those that a producer has published beyond a consumer at that place.
   * The result is 0 to `entries` - 1 for an index that wraps at the ring's end. For one that counts freely it goes up
   * to `entries`, a full ring.
   */
  since(count: number): number {
    if (typeof count !== 'number') throw argumentError('a count', count, 'pass a number');
    const distance = this.#count - count;
    return distance < 0 ? distance + this.#range : distance;
  }

  /** Back to entry 0, in the first round: the ring was zeroed, and the device was told. */
  reset(): void {
    this.#index = 0;
    this.#count = 0;
    this.#phase = 1;
  }
}

function refusal(entries: unknown, remedy: string): DmaError {
  return new DmaError('EINVAL', `a ring of ${describe(entries)} entries`, { remedy });
}
