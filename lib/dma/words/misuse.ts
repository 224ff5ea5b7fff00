/**
 * The mistakes that a driver makes with a handle. Each of them throws a DmaError. The owner of the handle is told
 * first, so that dma-debug (lib/debug) can report the mistake. A device without dma-debug pays nothing for it.
 */
import type { DmaError } from '../../errors.ts';

export type Misuse = 'released-twice' | 'used-after-release' | 'sync-out-of-range';

/** The owner of handles of type `T`. */
export interface Refuser<T> {
  /** Return the error to throw. Without dma-debug it is `error`. */
  refuse(misuse: Misuse, handle: T, error: DmaError): DmaError;
}
