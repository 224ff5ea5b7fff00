/**
 * Many small copies in one call. Setting one TypedArray from another takes longer than moving the few hundred bytes
 * themselves. Native code makes all copies in the time of a few, from a list that is built once.
 */

/**
 * Make the first `count` copies of a list, in order. Each copy is five numbers: the target's buffer and offset, the
 * source's buffer and offset, and the bytes. A buffer is given as its place among the arguments, from 0. The result
 * is 0 if all copies were made. It is negative if none was made, for example because a buffer was detached.
 */
export type CopyMany = (
  copies: Uint32Array,
  count: number,
  ...buffers: (ArrayBufferLike | undefined)[]
) => number;

/** The number of buffers that a call accepts. */
const MAX_BUFFERS = 6;
const FIELDS = 5;
const MAX_UINT32 = 2 ** 32 - 1;

/** A list of copies that is filled once and run again and again. */
export class CopyList {
  /** Bytes of all copies. */
  bytes = 0;
  private count = 0;
  private copies = new Uint32Array(32 * FIELDS);
  private readonly buffers: ArrayBufferLike[] = [];

  /** Add a copy. False if the list has no room for it. */
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

  /** Make all copies. False if none was made. */
  run(copyMany: CopyMany): boolean {
    // The arguments are written out: spreading an array takes as long as five of the copies.
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

  /** The place of a buffer among the arguments. It is -1 if none is left. */
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
