/**
 * Memory for copies of bytes that the device owns. A copy lives as long as its mapping, and the next mapping mostly
 * has about the same size. So freed copies are reused, the last one first, because it is still in the processor's
 * caches.
 */

/** All copies of up to 64 bytes have one size. Those of more than 1 MiB are not reused. */
const SMALLEST = 6;
const LARGEST = 20;
/** The most bytes that wait for reuse. */
const MOST_SPARE = 2 ** 22;

/** Memory for the copies that a watch compares later. Reusing it costs no allocation. */
export class Snapshots {
  /** The size of the reusable copies that are in use, in bytes. */
  used = 0;
  /** Free copies, by the power of two of their size. */
  private readonly spare = Array.from({ length: LARGEST + 1 }, (): Buffer[] => []);
  private waiting = 0;

  /** Allocates a copy for `size` bytes. Its present contents are arbitrary. */
  take(size: number): Buffer {
    const order = orderOf(size);
    if (order > LARGEST) return Buffer.allocUnsafeSlow(size);
    const bytes = 2 ** order;
    this.used += bytes;
    const found = this.spare[order]!.pop();
    if (found === undefined) return Buffer.allocUnsafeSlow(bytes);
    this.waiting -= bytes;
    return found;
  }

  give(snapshot: Buffer): void {
    const { length } = snapshot;
    if (length > 2 ** LARGEST) return;
    this.used -= length;
    if (this.waiting + length > MOST_SPARE) return;
    this.waiting += length;
    this.spare[orderOf(length)]!.push(snapshot);
  }
}

const comparing = Buffer.prototype.compare;

/** True if the `size` bytes of `a` from `start` on equal those of `b` from `other` on. Both are long enough. */
export function sameBytes(a: Uint8Array, start: number, b: Uint8Array, other: number, size: number): boolean {
  return comparing.call(a, b, other, other + size, start, start + size) === 0;
}

function orderOf(size: number): number {
  return size <= 2 ** SMALLEST ? SMALLEST : 32 - Math.clz32(size - 1);
}
