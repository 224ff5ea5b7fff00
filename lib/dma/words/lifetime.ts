/** The lifetime of a device. All of its parts share it. */
import { closedError, type DmaError } from '../../errors.ts';

/**
 *      open        -> gone      the device is not there any more: nothing is allocated or mapped from here on,
 *                               but the driver can still free and unmap what is live
 *      open, gone  -> closed    everything was freed and unmapped
 */
export class Lifetime {
  /** True once the device is gone or closed. */
  ended = false;
  /** True once the device was closed. It may have been gone before. */
  closed = false;
  readonly #name: string;
  #reason: DmaError | undefined;

  /** @param name the name of the device, for messages */
  constructor(name: string) {
    this.#name = name;
  }

  /** The error that an allocation or a mapping throws now: ENODEV. */
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
