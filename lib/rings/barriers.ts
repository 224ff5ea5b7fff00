/**
 * Memory barriers between a driver and a device that share memory, with the kernel's names and meaning
 * (Documentation/memory-barriers.txt, "Kernel barrier functions").
 *
 * Two things reorder accesses. V8 does not move an access past a call of Atomics, which it does not look into. The
 * processor is another matter: x86-64 keeps loads in order and stores in order, and lets a load pass an earlier store;
 * others keep nothing. A sequentially consistent store and a load behind it, of any word, order everything before the
 * store with everything after the load, on every processor that runs V8: x86-64 makes the store an `xchg`, arm64 makes
 * the two an `stlr` and an `ldar`, which do not pass each other.
 *
 * On arm64 this holds among processors ("inner shareable"). A device may be in a wider domain: once the addon is
 * loaded, which hardware needs, it adds the kernel's own `dmb osh`.
 */

/** Processors that keep loads among themselves and stores among themselves in order. */
export const KEEPS_ORDER = process.arch === 'x64' || process.arch === 'ia32';

const word = new Int32Array(new SharedArrayBuffer(4));
let native: () => void = () => {};

/** Called when the addon is loaded. */
export function useNativeBarrier(barrier: () => void): void {
  if (!KEEPS_ORDER) native = barrier;
}

/**
 * A full barrier (mb, dma_mb): every access of memory before it is done before any after it, a store before a later
 * load too. For drivers that publish something and then ask whether the device still wants to be told, as virtio's do.
 */
export function mb(): void {
  Atomics.store(word, 0, 0);
  Atomics.load(word, 0);
  native();
}

/**
 * A write barrier (dma_wmb): the device sees the stores before it before it sees any store after it. `Column.store` has
 * one built in, and so have register writes.
 */
export function dmaWmb(): void {
  if (KEEPS_ORDER) Atomics.load(word, 0);
  else mb();
}

/**
 * A read barrier (dma_rmb): what is loaded after it is no older than what was loaded before it. `Column.load` has one
 * built in, and so have register reads.
 */
export function dmaRmb(): void {
  if (KEEPS_ORDER) Atomics.load(word, 0);
  else mb();
}
