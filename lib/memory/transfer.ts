/** What this runtime has for moving memory from one ArrayBuffer to another. */

/**
 * `ArrayBuffer.prototype.transfer`, on Node.js 22 and later. It is read once, so that a later patch of the prototype has no
 * effect here.
 */
export const transfer = (
  ArrayBuffer.prototype as { transfer?: (this: ArrayBuffer, size?: number) => ArrayBuffer }
).transfer;

/** Loaded when it is needed: a program that has no device does not need it. */
export const threads = () => process.getBuiltinModule('node:worker_threads');

/** True if this runtime marks buffers as untransferable, and still lets a marked one be detached. */
export function canDetachMarked(): boolean {
  const probe = new ArrayBuffer(1);
  try {
    threads().markAsUntransferable(probe);
    if (transfer === undefined) return true;
    transfer.call(probe, 0);
  } catch {
    return false;
  }
  return probe.byteLength === 0;
}
