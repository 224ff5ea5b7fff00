/**
 * Memory that a simulated device writes: each look at it takes simulated time, as each read of a register does, so that
 * a loop which polls it ends. Real memory is never entered here.
 */
const looks = new WeakMap<ArrayBufferLike, () => void>();

/** Call `look` at each look at this memory (`Column.load`, `load32`, `load64`) from now on. */
export function observeLooks(buffer: ArrayBufferLike, look: () => void): void {
  looks.set(buffer, look);
}

/** To be called before each look at this memory; undefined for nearly all memory. */
export function lookAt(buffer: ArrayBufferLike): (() => void) | undefined {
  return looks.get(buffer);
}
