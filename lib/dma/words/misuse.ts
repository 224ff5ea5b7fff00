/**
 * What a driver can do wrong with a handle. Each of these is a DmaError in any case; before it is thrown the owner of
 * the handle is told, which is how dma-debug (lib/debug) comes to know of it at no cost to anybody else.
 */
import type { DmaError } from '../../errors.ts';

export type Misuse = 'released-twice' | 'used-after-release' | 'sync-out-of-range';

/** Whoever handed out handles of type `T`. */
export interface Refuser<T> {
  /** The error to throw: `error`. */
  refuse(misuse: Misuse, handle: T, error: DmaError): DmaError;
}
