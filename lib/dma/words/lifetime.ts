/** The lifetime of a device, which all of its parts share. */
import { closedError, type DmaError } from '../../errors.ts';

/**
 *      open      -> gone      the device is not there any more: no more allocations or mappings; live ones can be freed and unmapped
 *      open, gone -> closed   everything was freed and unmapped
 */
export class Lifetime {
  /** The device is gone or closed. */
  ended = false;
  /** The device was closed; before that it may have been gone. */
  closed = false;
  readonly #name: string;
  #reason: DmaError | undefined;

  /** @param name the device, for messages */
  constructor(name: string) {
    this.#name = name;
  }

  /** The error of an allocation or a mapping now: ENODEV. */
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
