import type { RegionFunctions } from '../native/addon.ts';

/**
 * Detaches a carved buffer: every view of it then has length 0. Returns false if the program made that impossible.
 */
export function detach(addon: Pick<RegionFunctions, 'detach'>, buffer: ArrayBuffer): boolean {
  // On Node 24 and 26, native detaching aborts the process if the buffer was marked untransferable.
  if (transfer === undefined) return addon.detach(buffer) >= 0;
  try {
    transfer.call(buffer, 0);
  } catch {
    // The buffer was marked untransferable, or is already detached.
  }
  return buffer.byteLength === 0;
}

/**
 * Exists on Node 22 and later. This module reads it once, so that a later patch of the prototype has no effect here.
 */
const transfer = (ArrayBuffer.prototype as { transfer?: (this: ArrayBuffer, size: number) => ArrayBuffer })
  .transfer;
