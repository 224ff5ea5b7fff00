/**
 * The place where the addon finds what a register access is about (native/mmio.h). Nothing may run between the stores
 * into the frame and the call, so an argument is checked before it is stored: a store of an object would call it.
 */
import { DmaError, errnoName } from '../errors.ts';
import type { MmioFunctions } from '../native/addon.ts';

/** `numbers` of the frame: the handle of a window or of a sequence. */
export const HANDLE = 0;
/** `numbers` of the frame: bytes from the start of the window. */
export const OFFSET = 1;
/** `words` of the frame: the lower half of the value. */
export const VALUE = 4;
/** `wide` of the frame: the value. */
export const WIDE_VALUE = 2;

/** Views of the frame of one environment. */
export interface Frame {
  readonly numbers: Float64Array;
  readonly words: Uint32Array;
  readonly wide: BigUint64Array;
}

/** @throws DmaError ENOMEM · EOPNOTSUPP the runtime does not let an addon share memory (Electron) */
export function frameOf(native: Pick<MmioFunctions, 'mmioFrame'>): Frame {
  const buffer = native.mmioFrame();
  if (typeof buffer === 'number') {
    throw new DmaError(errnoName(buffer), 'the runtime refuses the memory that register accesses share', {
      remedy: 'use Node.js, and leave the process some memory',
    });
  }
  return {
    numbers: new Float64Array(buffer),
    words: new Uint32Array(buffer),
    wide: new BigUint64Array(buffer),
  };
}
