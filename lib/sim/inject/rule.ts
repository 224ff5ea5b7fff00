/** When a fault strikes: the vocabulary of all rules, and the counting behind it. */
import { describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';

/**
 * Opportunities of a kind are counted from 1 while its rule stands. A fault strikes at those that meet every
 * condition given; without a condition it strikes at all of them.
 */
export interface FaultTiming {
  /** At this opportunity only. */
  readonly nth?: number;
  /** Not at the first so many. */
  readonly after?: number;
  /** Not beyond this one. */
  readonly until?: number;
  /** 0 to 1, decided anew each time, by the seed. */
  readonly probability?: number;
  /**
   * Simulated time that something takes longer: 'completion-delayed' 1,000,000 unless given, Infinity for never;
   * 'interrupt-coalesced' 100.
   */
  readonly microseconds?: number;
  /** Of 'interrupt-spurious': the vector that interrupts. Default 0. */
  readonly vector?: number;
}

/** One rule of the injector: the opportunities at which a fault strikes. */
export class Rule {
  readonly when: FaultTiming;
  readonly #random: () => number;
  #count = 0;

  /** @throws DmaError EINVAL a condition that nothing can meet */
  constructor(when: FaultTiming, seed: number) {
    check(when);
    this.when = when;
    this.#random = generator(seed);
  }

  /** Opportunities so far. */
  get count(): number {
    return this.#count;
  }

  /** An opportunity: whether the fault strikes. */
  strikes(): boolean {
    const { nth = 0, after = 0, until = Number.POSITIVE_INFINITY, probability = 1 } = this.when;
    const count = ++this.#count;
    // Drawn every time, so that a condition more does not change what happens where the others are met.
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

function check({
  nth = 1,
  after = 0,
  until = 1,
  probability = 0,
  microseconds = 1,
  vector = 0,
}: FaultTiming): void {
  const whole = (value: number, least: number) => Number.isInteger(value) && value >= least;
  if (!whole(nth, 1)) throw refusal('nth', nth, 'a whole number from 1');
  if (!whole(after, 0)) throw refusal('after', after, 'a whole number from 0');
  if (!whole(until, 1)) throw refusal('until', until, 'a whole number from 1');
  if (!(probability >= 0 && probability <= 1)) throw refusal('probability', probability, '0 to 1');
  if (!whole(vector, 0)) throw refusal('vector', vector, 'a whole number from 0');
  if (!(microseconds >= 1)) throw refusal('microseconds', microseconds, '1 or more');
}

function refusal(what: string, value: number, wanted: string): DmaError {
  return new DmaError('EINVAL', `${what} of a fault is ${describe(value)}`, { remedy: `pass ${wanted}` });
}
