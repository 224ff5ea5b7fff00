/** How much a simulated device lags, and the random numbers for it. */
import {
  argumentError,
  checkOptions,
  checkWhole,
  describe,
  type OptionChecks,
  whole,
} from '../../arguments.ts';
import { generator } from '../inject/rule.ts';

/** How much a device lags. */
export interface LagOptions {
  /**
   * The seed of all random decisions, a whole number below 2^32. With one seed the device always behaves the same, as
   * long as the driver does the same. Default: USERDMA_LAG_SEED, or 1.
   */
  readonly seed?: number;
  /** The longest time that a write is under way, in simulated microseconds. Default 100. */
  readonly microseconds?: number;
}

const LARGEST_SEED = 2 ** 32 - 1;
const LONGEST = 1e9;
const DEFAULT_TIME = 100;

/** How much time passes in a call by which the driver takes memory away from the device. */
export type Pause = 'none' | 'short' | 'long';

const LAG_CHECKS: OptionChecks<Required<LagOptions>> = {
  seed: whole(0, LARGEST_SEED),
  microseconds: whole(1, LONGEST),
};

/** The random decisions of one device. */
export class Lag {
  readonly seed: number;
  readonly #most: number;
  readonly #random: () => number;

  /** @throws DmaError EINVAL */
  constructor(options: LagOptions = {}) {
    checkOptions<LagOptions>(options, 'lag', LAG_CHECKS);
    this.seed = options.seed ?? defaultSeed();
    this.#most = options.microseconds ?? DEFAULT_TIME;
    this.#random = generator(this.seed);
  }

  /**
   * Microseconds from 1 to the maximum. Each power of ten has the same chance, so short times are as likely as long
   * ones.
   */
  time(): number {
    return Math.round(this.#most ** this.#random());
  }

  /** Returns true half of the time. */
  toss(): boolean {
    return this.#random() < 0.5;
  }

  pause(): Pause {
    if (this.toss()) return 'none';
    return this.toss() ? 'short' : 'long';
  }
}

/** Checks the `lag` option: true, false, or options. */
export function checkLag(wanted: unknown, what: string): void {
  if (typeof wanted === 'boolean') return;
  if (typeof wanted !== 'object')
    throw argumentError(what, wanted, 'pass true, false or { seed, microseconds }');
  checkOptions<LagOptions>(wanted, 'lag', LAG_CHECKS);
}

/** @throws DmaError EINVAL */
export function lagOf(wanted: boolean | LagOptions | undefined): Lag | undefined {
  if (wanted === undefined || wanted === false) return undefined;
  return new Lag(wanted === true ? {} : wanted);
}

function defaultSeed(): number {
  const text = process.env.USERDMA_LAG_SEED;
  if (text === undefined || text === '') return 1;
  const seed = Number(text);
  checkWhole(seed, `USERDMA_LAG_SEED, ${describe(text)},`, 0, LARGEST_SEED);
  return seed;
}
