/** A value that only the driver knows, such as the address of its ring: caught in one step, used in a later one. */
import { checkText } from '../arguments.ts';
import { DmaError } from '../errors.ts';

const HALF = 0xffff_ffffn;

/** A value that a driver writes, remembered for later steps of a script. */
export class Captured {
  /** To be expected: the value, whatever it is. */
  readonly whole: (value: bigint) => boolean;
  /** To be expected: its lower 32 bits. */
  readonly low: (value: bigint) => boolean;
  /** To be expected: its upper 32 bits. */
  readonly high: (value: bigint) => boolean;
  readonly #name: string;
  #value: bigint | undefined;

  /** @param name for messages */
  constructor(name = 'a captured value') {
    checkText(name, 'the name of a captured value');
    this.#name = name;
    this.whole = named(name, (value) => this.#take(value));
    this.low = named(`${name}, low half`, (value) => this.#take((this.#old & ~HALF) | (value & HALF)));
    this.high = named(`${name}, high half`, (value) => this.#take((this.#old & HALF) | (value << 32n)));
  }

  /** @throws DmaError EINVAL nothing was captured yet */
  get value(): bigint {
    if (this.#value !== undefined) return this.#value;
    throw new DmaError('EINVAL', `${this.#name} was used before it was captured`, {
      remedy: 'expect a write of it in an earlier step',
    });
  }

  get #old(): bigint {
    return this.#value ?? 0n;
  }

  #take(value: bigint): boolean {
    this.#value = value;
    return true;
  }
}

/** A script that failed shows a function by its name. */
function named(name: string, take: (value: bigint) => boolean): (value: bigint) => boolean {
  return Object.defineProperty(take, 'name', { value: name });
}
