/**
 * Memory that a simulated device writes. A look at it (`Column.load`, `load32`, `load64`) takes simulated time, as each
 * read of a register does, so that a loop which polls it ends. dma-debug sees the reads of the library's own accessors;
 * no program can see those of a typed array. Real memory is never entered here.
 */

/** Called with the offset in the buffer and the number of bytes, before the CPU reads them. */
export type ReadObserver = (offset: number, size: number) => void;

const looks = new WeakMap<ArrayBufferLike, () => void>();
const reads = new WeakMap<ArrayBufferLike, ReadObserver>();

/** Call `look` at each look at this memory from now on. */
export function observeLooks(buffer: ArrayBufferLike, look: () => void): void {
  looks.set(buffer, look);
}

/** The function to call before each look at this memory; undefined for nearly all memory. */
export function lookAt(buffer: ArrayBufferLike): (() => void) | undefined {
  return looks.get(buffer);
}

/** Call `read` before each read of this memory through an accessor that is made from now on. */
export function observeReads(buffer: ArrayBufferLike, read: ReadObserver): void {
  reads.set(buffer, read);
}

/** To be called before an accessor reads this memory; undefined for nearly all memory. */
export function readObserver(buffer: ArrayBufferLike): ReadObserver | undefined {
  return reads.get(buffer);
}
