/** How long a device hands things out, as all of its parts see it. */
import { closedError, type DmaError } from '../../errors.ts';

/**
 *      open      -> gone      the device left: nothing more is handed out, and what is out can be given back
 *      open, gone -> closed   everything was taken back
 */
export class Lifetime {
  /** Nothing is handed out any more. */
  ended = false;
  /** The device was closed; before that it may have been gone. */
  closed = false;
  readonly #name: string;
  #reason: DmaError | undefined;

  /** @param name the device, for messages */
  constructor(name: string) {
    this.#name = name;
  }

  /** What a call that would hand something out throws now: ENODEV. */
  get error(): DmaError {
    return this.closed ? closedError(this.#name) : (this.#reason ?? closedError(this.#name));
  }

  /** @throws DmaError ENODEV closed, or the error that the device left with */
  check(): void {
    if (this.ended) throw this.error;
  }

  /** The device is gone, for this reason. */
  abandon(reason: DmaError): void {
    this.ended = true;
    this.#reason = reason;
  }

  close(): void {
    this.ended = true;
    this.closed = true;
  }
}
