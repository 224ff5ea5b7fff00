/**
 * Memory barriers between a driver and a device that share memory, with the kernel's names and meaning
 * (Documentation/memory-barriers.txt, "Kernel barrier functions").
 *
 * Two parties reorder accesses: V8 and the processor. V8 does not move an access past a call of Atomics, because it
 * does not look into that call. An x86-64 processor keeps loads in order and stores in order, but lets a load pass an
 * earlier store. Other processors keep no order. A sequentially consistent store and a load after it, of any word,
 * order everything before the store with everything after the load. This holds on every processor that runs V8: on
 * x86-64 the store is an `xchg`; on arm64 the two are an `stlr` and an `ldar`, which do not pass each other.
 *
 * On arm64 this order holds among processors ("inner shareable"). A device may be in a wider domain. When the addon
 * is loaded, which hardware needs, it adds the kernel's own `dmb osh`.
 */

/** True for processors that keep the order of loads, and the order of stores. */
export const KEEPS_ORDER = process.arch === 'x64' || process.arch === 'ia32';

const word = new Int32Array(new SharedArrayBuffer(4));
let native: () => void = () => {};

/** Called when the addon is loaded. */
export function useNativeBarrier(barrier: () => void): void {
  if (!KEEPS_ORDER) native = barrier;
}

/**
 * A full barrier (mb, dma_mb): every access of memory before it is done before any access after it, including a store
 * before a later load. A driver needs it if it publishes something and then checks if the device still wants a
 * notification, as virtio drivers do.
 */
export function mb(): void {
  Atomics.store(word, 0, 0);
  Atomics.load(word, 0);
  native();
}

/**
 * A write barrier (dma_wmb): the device sees the stores before it earlier than any store after it. `Column.store`
 * contains one, and so do register writes.
 */
export function dmaWmb(): void {
  if (KEEPS_ORDER) Atomics.load(word, 0);
  else mb();
}

/**
 * A read barrier (dma_rmb): a value that is loaded after it is not older than one that was loaded before it.
 * `Column.load` contains one, and so do register reads.
 */
export function dmaRmb(): void {
  if (KEEPS_ORDER) Atomics.load(word, 0);
  else mb();
}
