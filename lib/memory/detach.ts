import type { RegionFunctions } from '../native/addon.ts';
import { canDetachMarked, threads, transfer } from './transfer.ts';

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
 * As `detach`, and returns a new buffer with the same memory. It is as a carved one is: a transfer list refuses it, and
 * `transfer()` takes its memory. Returns undefined, and has changed nothing, if the program made detaching impossible
 * or this runtime has no way.
 */
export function renew(addon: Renewing, buffer: ArrayBuffer): ArrayBuffer | undefined {
  if (renewing === undefined) renewing = waysToRenew(addon);
  return renewing?.(buffer);
}

type Renewing = Pick<RegionFunctions, 'renew' | 'unlock'>;
type Renew = (buffer: ArrayBuffer) => ArrayBuffer | undefined;

/** Null if this runtime has no way. */
let renewing: Renew | null | undefined;

/**
 *      Node.js            new buffer by     kept from transfer lists by
 *      20                 the addon         the mark
 *      22                 transfer()        the mark
 *      24 and later       transfer()        the mark; its key would also keep us from detaching, so the addon removes it
 */
function waysToRenew(addon: Renewing): Renew | null {
  const { markAsUntransferable: mark } = threads();
  const move = transfer;
  if (move === undefined) {
    if (typeof addon.renew(new ArrayBuffer(1)) === 'number') return null;
    return (buffer) => {
      const fresh = addon.renew(buffer);
      if (typeof fresh === 'number') return undefined;
      mark(fresh);
      return fresh;
    };
  }
  // In a runtime whose V8 the addon does not know, it is not known either what keeps a transfer list off.
  if (addon.unlock(new ArrayBuffer(1)) < 0) return null;
  const locks = !canDetachMarked();
  return (buffer) => {
    let fresh: ArrayBuffer;
    try {
      fresh = move.call(buffer);
    } catch {
      return undefined; // the buffer was marked untransferable
    }
    mark(fresh);
    if (locks) addon.unlock(fresh);
    return fresh;
  };
}
