/**
 * Looks at memory that a simulated device writes. Each look takes simulated time, like a read of a register, so that
 * a polling loop ends. Real memory is never registered here.
 */
const looks = new WeakMap<ArrayBufferLike, () => void>();

/** Calls `look` at each look at this memory (`Column.load`, `load32`, `load64`) from now on. */
export function observeLooks(buffer: ArrayBufferLike, look: () => void): void {
  looks.set(buffer, look);
}

/** The function to call before each look at this memory; undefined for nearly all memory. */
export function lookAt(buffer: ArrayBufferLike): (() => void) | undefined {
  return looks.get(buffer);
}
