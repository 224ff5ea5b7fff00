/**
 * Many small copies in one call. To set one TypedArray from another takes longer than to move the few hundred bytes
 * themselves. Native code makes all copies in the time of a few, from a list that is built once.
 */

/**
 * Does the first `count` copies of a list, in order: five numbers each, which are the target's buffer and offset, the
 * source's buffer and offset, and the bytes; a buffer is its place among the arguments, from 0. Returns 0 when all are
 * done, a negative number when none is done, for example because a buffer was detached.
 */
export type CopyMany = (
  copies: Uint32Array,
  count: number,
  ...buffers: (ArrayBufferLike | undefined)[]
) => number;

/** Buffers that a call takes. */
const MAX_BUFFERS = 6;
const FIELDS = 5;
const MAX_UINT32 = 2 ** 32 - 1;

/** A list of copies that is filled and done again and again. */
export class CopyList {
  /** Bytes of all copies. */
  bytes = 0;
  private count = 0;
  private copies = new Uint32Array(32 * FIELDS);
  private readonly buffers: ArrayBufferLike[] = [];

  /** One copy more. False when the list cannot take it. */
  add(
    to: ArrayBufferLike,
    toOffset: number,
    from: ArrayBufferLike,
    fromOffset: number,
    size: number,
  ): boolean {
    const target = this.place(to);
    const source = this.place(from);
    if (target < 0 || source < 0 || Math.max(toOffset, fromOffset) + size > MAX_UINT32) return false;
    const at = this.count * FIELDS;
    if (at === this.copies.length) this.grow();
    const { copies } = this;
    copies[at] = target;
    copies[at + 1] = toOffset;
    copies[at + 2] = source;
    copies[at + 3] = fromOffset;
    copies[at + 4] = size;
    this.count++;
    this.bytes += size;
    return true;
  }

  /** All of them; false when none was done. */
  run(copyMany: CopyMany): boolean {
    // Written out: spreading an array takes as long as five of the copies.
    const { buffers } = this;
    const [a, b, c] = buffers;
    return copyMany(this.copies, this.count, a, b, c, buffers[3], buffers[4], buffers[5]) === 0;
  }

  /** Empty the list, and drop its references to buffers. */
  clear(): void {
    this.bytes = 0;
    this.count = 0;
    this.buffers.length = 0;
  }

  /** Place of a buffer among the arguments; -1 when there is none left. */
  private place(buffer: ArrayBufferLike): number {
    const found = this.buffers.indexOf(buffer);
    if (found >= 0) return found;
    return this.buffers.length < MAX_BUFFERS ? this.buffers.push(buffer) - 1 : -1;
  }

  private grow(): void {
    const { copies } = this;
    this.copies = new Uint32Array(copies.length * 2);
    this.copies.set(copies);
  }
}
