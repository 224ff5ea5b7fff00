/** When a fault strikes: the conditions of all rules, and their counting. */
import { argumentError, type Check, checkOptions, type OptionChecks, whole } from '../../arguments.ts';

/**
 * Opportunities of a kind are counted from 1 as long as its rule exists. A fault strikes at those that meet every
 * given condition. Without a condition it strikes at all of them.
 */
export interface FaultTiming {
  /** At this opportunity only. */
  readonly nth?: number;
  /** Only after this many opportunities. */
  readonly after?: number;
  /** At this opportunity and before, not after it. */
  readonly until?: number;
  /** 0 to 1. Decided anew at each opportunity, by the seed. */
  readonly probability?: number;
  /**
   * The simulated time of a delay. 'completion-delayed': default 1,000,000; Infinity means never.
   * 'interrupt-coalesced': default 100.
   */
  readonly microseconds?: number;
  /** For 'interrupt-spurious': the vector that interrupts. Default 0. */
  readonly vector?: number;
}

const TIMING_CHECKS: OptionChecks<Required<FaultTiming>> = {
  nth: whole(1, Number.MAX_SAFE_INTEGER),
  after: whole(0, Number.MAX_SAFE_INTEGER),
  until: whole(1, Number.MAX_SAFE_INTEGER),
  probability: between(0, 1, 'a number from 0 to 1'),
  microseconds: between(1, Number.POSITIVE_INFINITY, '1 or more'),
  vector: whole(0, Number.MAX_SAFE_INTEGER),
};

/** One rule of the injector: the opportunities at which a fault strikes. */
export class Rule {
  readonly when: FaultTiming;
  readonly #random: () => number;
  #count = 0;

  /** @throws DmaError EINVAL a condition can never be met */
  constructor(when: FaultTiming, seed: number) {
    checkOptions<FaultTiming>(when, 'a fault', TIMING_CHECKS);
    this.when = when;
    this.#random = generator(seed);
  }

  /** The number of opportunities so far. */
  get count(): number {
    return this.#count;
  }

  /** Counts an opportunity. Returns true if the fault strikes. */
  strikes(): boolean {
    const { nth = 0, after = 0, until = Number.POSITIVE_INFINITY, probability = 1 } = this.when;
    const count = ++this.#count;
    // A number is drawn every time. So an additional condition changes no decision at the opportunities that the
    // other conditions allow.
    const drawn = this.#random() < probability;
    return drawn && (nth === 0 || count === nth) && count > after && count <= until;
  }
}

/** Numbers from 0 to 1, exclusive; the same ones for the same seed (splitmix32). */
export function generator(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    mixed ^= mixed >>> 15;
    return (mixed >>> 0) / 2 ** 32;
  };
}

function between(least: number, most: number, wanted: string): Check {
  return (value, what) => {
    if (typeof value === 'number' && value >= least && value <= most) return;
    throw argumentError(what, value, `pass ${wanted}`);
  };
}
