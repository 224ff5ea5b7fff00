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
const NOBODY: readonly never[] = [];

/** Mappings and buffers, found by the bytes that they have in common. */
export class SharedBytes<T extends Sharer> {
  readonly #spans = new SpanIndex<T>();

  /** Enter a view of at least one byte. @returns all others that have a byte in common with it */
  enter(one: T, view: ArrayBufferView, size: number): readonly T[] {
    const first = numbers.of(view.buffer) + view.byteOffset;
    one.firstByte = first;
    one.sharePlace = this.#spans.add(first, size, one);
    if (this.#spans.met === undefined) return NOBODY;
    return this.#spans.touching(first, size).filter((other) => other !== one);
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
