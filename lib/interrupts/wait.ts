/**
 * One call of `Interrupt.wait`. It ends with an interrupt, an error, its signal or its timeout, whichever comes
 * first.
 */
import { argumentError, checkMethods, checkOptions, type OptionChecks } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import type { InterruptKind } from './access.ts';
import { addAbortAction, removeAbortAction } from './on-abort.ts';

/** Options of a wait for an interrupt. */
export interface WaitOptions {
  /** Ends the wait, which rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds of real time after which the wait rejects with DmaError ETIMEDOUT. Default: no timeout. */
  readonly timeout?: number | undefined;
}

/** The largest delay that `setTimeout` supports; it treats a larger one as 1. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

const CHECKS: OptionChecks<Required<WaitOptions>> = { signal: checkSignal, timeout: checkTimeout };

/**
 * The DmaError EINVAL for options that `wait` cannot take. It is returned, because `wait` rejects and never throws.
 */
export function refuseWait(options: unknown): unknown {
  try {
    checkOptions<WaitOptions>(options, 'wait', CHECKS);
    return undefined;
  } catch (error) {
    return error;
  }
}

function checkSignal(value: unknown, what: string): void {
  checkMethods(value, what, ['addEventListener', 'removeEventListener'], 'pass an AbortSignal');
}

function checkTimeout(value: unknown, what: string): void {
  if (typeof value === 'number' && value >= 0 && value <= LONGEST_TIMEOUT) return;
  throw argumentError(what, value, `pass milliseconds, a number from 0 to ${LONGEST_TIMEOUT}`);
}

/** `MSI-X vector 1` */
export function nameOf({ kind, vector }: { readonly kind: InterruptKind; readonly vector: number }): string {
  return kind === 'intx' ? 'INTx' : `${kind === 'msi' ? 'MSI' : 'MSI-X'} vector ${vector}`;
}

/** @param why the reason why no interrupt came, if it is known */
export function timedOut(
  vector: { readonly kind: InterruptKind; readonly vector: number },
  milliseconds: number,
  why: string | undefined,
): DmaError {
  const explanation = why === undefined ? '' : `: ${why}`;
  return new DmaError('ETIMEDOUT', `${nameOf(vector)} did not come in ${milliseconds} ms${explanation}`, {
    remedy: 'check that the device was started, that bus mastering is on, and that its interrupt is enabled',
  });
}

export interface WaiterParts extends WaitOptions {
  resolve(count: number): void;
  reject(error: unknown): void;
  /** The error after `timeout` has passed. */
  lateError(timeout: number): DmaError;
  /** Called once, after the promise was settled and before code that awaits it runs. */
  onEnd(): void;
}

/** The waits for one interrupt, and the interrupts that no wait has seen yet. */
export class Waiter {
  readonly #parts: WaiterParts;
  readonly #onAbort = (): void => this.reject(this.#parts.signal?.reason);
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(parts: WaiterParts) {
    const { signal, timeout } = parts;
    this.#parts = parts;
    if (signal !== undefined) addAbortAction(signal, this.#onAbort);
    if (timeout !== undefined) {
      this.#timer = setTimeout(() => this.reject(parts.lateError(timeout)), timeout);
    }
  }

  resolve(count: number): void {
    this.#parts.resolve(count);
    this.#end();
  }

  reject(error: unknown): void {
    this.#parts.reject(error);
    this.#end();
  }

  #end(): void {
    const { signal } = this.#parts;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    if (signal !== undefined) removeAbortAction(signal, this.#onAbort);
    this.#parts.onEnd();
  }
}
