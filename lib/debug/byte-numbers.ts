/**
 * A number for every byte of every buffer of the process. Bytes that lie side by side have numbers side by side, and no
 * two buffers have a number in common, so that mappings of the same bytes are found by comparing numbers.
 */

/** Numbers start beyond every device address. */
export const FIRST_NUMBER = 2 ** 51;
/** Each buffer starts at a multiple of this many bytes, at least as many after the end of the one before. */
const APART = 4096;

/** The numbers of buffers, each given when it is first asked for. */
export class ByteNumbers {
  readonly #bases = new WeakMap<ArrayBufferLike, number>();
  #next = FIRST_NUMBER;

  /** The number of a buffer's first byte; undefined when it was not asked for before. */
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
