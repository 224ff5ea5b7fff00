/**
 * The live mappings of the process that have bytes in common, whichever devices they belong to: a driver may lend one
 * buffer to several devices, or twice to the same one (DMA_ATTR_SKIP_CPU_SYNC in dma-attributes.rst).
 */
import { ByteNumbers } from './byte-numbers.ts';
import { SpanIndex } from './span-index.ts';

/** A mapping, or what else has bytes that may be lent more than once. */
export interface Sharer {
  /** Number of its first byte among all bytes of the process. */
  firstByte: number;
  /** Its number in SharedBytes; -1 while it is in none. */
  sharePlace: number;
}

const numbers = new ByteNumbers();
const NONE: readonly never[] = [];

/**
 * Mappings and buffers, found by the bytes that they have in common. Mappings of one kind are in one index, so that a
 * new mapping only looks through those that matter to it: a buffer may have thousands of mappings of another kind.
 */
export class SharedBytes<T extends Sharer> {
  readonly #spans = new SpanIndex<T>();

  /** Enter a view of at least one byte. */
  enter(one: T, view: ArrayBufferView, size: number): void {
    one.firstByte = numbers.of(view.buffer) + view.byteOffset;
    one.sharePlace = this.#spans.add(one.firstByte, size, one, false);
  }

  /** Those that have a byte in common with `size` bytes from `firstByte` on. */
  touching(firstByte: number, size: number): readonly T[] {
    return this.#spans.count === 0 ? NONE : this.#spans.touching(firstByte, size);
  }

  /** Harmless for what was never entered. */
  leave(one: T): void {
    if (one.sharePlace < 0) return;
    this.#spans.remove(one.sharePlace);
    one.sharePlace = -1;
  }
}

/** Buffers of coherent memory, of any device: CPU and device use them at any time, so that their bytes say nothing. */
const coherentBuffers = new WeakSet<ArrayBufferLike>();

/** This is coherent memory, or a pool's. */
export function markCoherent(buffer: ArrayBufferLike): void {
  coherentBuffers.add(buffer);
}

/** Whether some device of the process may use the buffer at any time, whichever device it is mapped for. */
export function isCoherentBuffer(buffer: ArrayBufferLike): boolean {
  return coherentBuffers.has(buffer);
}
