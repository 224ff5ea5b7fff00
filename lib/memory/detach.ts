import type { RegionFunctions } from '../native/addon.ts';

/** Every view of a carved buffer has length 0 afterwards; false when the program made that impossible. */
export function detach(addon: Pick<RegionFunctions, 'detach'>, buffer: ArrayBuffer): boolean {
  // Native detaching aborts the process on Node 24 and 26 when the buffer was marked untransferable.
  if (transfer === undefined) return addon.detach(buffer) >= 0;
  try {
    transfer.call(buffer, 0);
  } catch {
    // Marked untransferable, or already detached.
  }
  return buffer.byteLength === 0;
}

/** Node 22 and later. Taken once, so that a later patch of the prototype is not called. */
const transfer = (ArrayBuffer.prototype as { transfer?: (this: ArrayBuffer, size: number) => ArrayBuffer })
  .transfer;
