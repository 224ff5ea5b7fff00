/**
 * The live mappings of the process that have bytes in common. They may belong to several devices: a driver may map one
 * buffer for several devices, or twice for the same one (DMA_ATTR_SKIP_CPU_SYNC in dma-attributes.rst).
 */
import { ByteNumbers } from './byte-numbers.ts';
import { SpanIndex } from './span-index.ts';

/** A mapping or a buffer whose bytes may be mapped more than once. */
export interface Sharer {
  /** The number of its first byte (byte-numbers.ts). */
  firstByte: number;
  /** Its number in SharedBytes; -1 while it is in none. */
  sharePlace: number;
}

const numbers = new ByteNumbers();
const NONE: readonly never[] = [];

/**
 * Mappings and buffers, found by the bytes that they have in common. Each kind of mapping has an index of its own. A new
 * mapping then searches only the kinds that matter to it. A buffer may have thousands of mappings of another kind.
 */
export class SharedBytes<T extends Sharer> {
  readonly #spans = new SpanIndex<T>();

  /** Enter a view of at least one byte. */
  enter(one: T, view: ArrayBufferView, size: number): void {
    one.firstByte = numbers.of(view.buffer) + view.byteOffset;
    one.sharePlace = this.#spans.add(one.firstByte, size, one, false);
  }

  /** The mappings and buffers that have a byte in common with `size` bytes from `firstByte` on. */
  touching(firstByte: number, size: number): readonly T[] {
    return this.#spans.count === 0 ? NONE : this.#spans.touching(firstByte, size);
  }

  /** This does nothing for a mapping that was never entered. */
  leave(one: T): void {
    if (one.sharePlace < 0) return;
    this.#spans.remove(one.sharePlace);
    one.sharePlace = -1;
  }
}
