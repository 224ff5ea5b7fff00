/**
 * Memory for copies of bytes that the device owns. A copy lives as long as a mapping, and the next mapping is of about
 * the same size: what was given back is used again, the last first, which is still in the processor's caches.
 */

/** Copies of 64 bytes or less are of one size, those of more than 1 MiB are made anew. */
const SMALLEST = 6;
const LARGEST = 20;
/** Bytes that wait to be used again. */
const MOST_SPARE = 2 ** 22;

/** Memory for the copies that a watch compares with later, reused without an allocation. */
export class Snapshots {
  /** Bytes of those that are in use, as far as they can be used again. */
  used = 0;
  /** By the power of two that each holds. */
  private readonly spare = Array.from({ length: LARGEST + 1 }, (): Buffer[] => []);
  private waiting = 0;

  /** The first `size` bytes of it are for a copy; what is in them now is anything. */
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

/** Whether `size` bytes of `a` from `start` on are those of `b` from `other` on; both have as many. */
export function sameBytes(a: Uint8Array, start: number, b: Uint8Array, other: number, size: number): boolean {
  return comparing.call(a, b, other, other + size, start, start + size) === 0;
}

function orderOf(size: number): number {
  return size <= 2 ** SMALLEST ? SMALLEST : 32 - Math.clz32(size - 1);
}
