/**
 * The mistakes of a driver with a handle. Each of them throws a DmaError. The owner of the handle is told before, so
 * that dma-debug (lib/debug) can report it; a device without dma-debug has no cost of it.
 */
import type { DmaError } from '../../errors.ts';

export type Misuse = 'released-twice' | 'used-after-release' | 'sync-out-of-range';

/** The owner of handles of type `T`. */
export interface Refuser<T> {
  /** The error to throw: `error`. */
  refuse(misuse: Misuse, handle: T, error: DmaError): DmaError;
}
