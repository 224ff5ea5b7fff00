/**
 * A number for every byte of every buffer of the process. Neighbouring bytes have neighbouring numbers, and no two
 * buffers have a number in common. So mappings of the same bytes are found by comparing numbers.
 */

/** Numbers start beyond every device address. */
export const FIRST_NUMBER = 2 ** 51;
/**
 * The number of a buffer's first byte is a multiple of this number. At least this many numbers lie between two buffers.
 */
const APART = 4096;

/** The numbers of buffers. A buffer gets its number when `of` is first called for it. */
export class ByteNumbers {
  readonly #bases = new WeakMap<ArrayBufferLike, number>();
  #next = FIRST_NUMBER;

  /** The number of a buffer's first byte. It is undefined if `of` was never called for the buffer. */
  known(buffer: ArrayBufferLike): number | undefined {
    return this.#bases.get(buffer);
  }

  /** The number of a buffer's first byte. */
  of(buffer: ArrayBufferLike): number {
    const known = this.#bases.get(buffer);
    if (known !== undefined) return known;
    const base = this.#next;
    this.#next += Math.ceil(buffer.byteLength / APART + 1) * APART;
    this.#bases.set(buffer, base);
    return base;
  }
}
