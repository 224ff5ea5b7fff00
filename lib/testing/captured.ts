/**
 * A value that only the driver knows, e.g. the address of its ring. One step of a script captures it, and a later
 * step uses it.
 */
import { checkText } from '../arguments.ts';
import { DmaError } from '../errors.ts';

const HALF = 0xffff_ffffn;

/** A value that a driver writes, remembered for later steps of a script. */
export class Captured {
  /** An expectation that accepts any value and captures it. */
  readonly whole: (value: bigint) => boolean;
  /** An expectation that accepts any value and captures it as the lower 32 bits. */
  readonly low: (value: bigint) => boolean;
  /** An expectation that accepts any value and captures it as the upper 32 bits. */
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

  /** @throws DmaError EINVAL no value was captured yet */
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

/** Gives the function a name, because the message of a failed script shows that name. */
function named(name: string, take: (value: bigint) => boolean): (value: bigint) => boolean {
  return Object.defineProperty(take, 'name', { value: name });
}
