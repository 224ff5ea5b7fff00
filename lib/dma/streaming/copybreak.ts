/** From which size on mapping memory in place is cheaper than copying it. */
import { type DmaOperations, reserveOrThrow } from '../operations/operations.ts';

/** About what it came to on the machines it was measured on, between 14 and 130 KiB. */
export const DEFAULT_COPYBREAK = 32 * 1024;
/** Beyond swiotlb's longest mapping there is no choice. */
const HIGHEST = 256 * 1024;
const ROUNDS = 8;

/**
 * Bytes at which both take equally long. Map and unmap of one granule and of many give what a mapping costs and what
 * each of its bytes adds; a copy gives the other side. A few dozen system calls.
 * @returns between a granule and 256 KiB; the default when nothing can be mapped
 */
export function measureCopybreak(operations: DmaOperations, limit: number): number {
  const { granule } = operations;
  const long = Math.max(HIGHEST, granule * 16);
  const memory = new Uint8Array(long + granule).fill(1);
  const from = (granule - operations.pageOffset(memory.buffer)) % granule;
  const mapOnce = (size: number) => {
    const range = reserveOrThrow(operations, size, limit);
    try {
      operations.map(range.address, memory.buffer, from, size, 'read');
      operations.unmap(range.address, size);
    } finally {
      operations.unreserve(range);
    }
  };
  try {
    const mapShort = fastest(() => mapOnce(granule));
    const mapByte = (fastest(() => mapOnce(long)) - mapShort) / (long - granule);
    const copyByte = fastest(() => memory.copyWithin(0, long / 2, long)) / (long / 2);
    if (copyByte <= mapByte) return HIGHEST;
    return Math.min(HIGHEST, Math.max(granule, mapShort / (copyByte - mapByte)));
  } catch {
    return DEFAULT_COPYBREAK;
  }
}

/** Milliseconds of the fastest of some rounds. */
function fastest(act: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    act();
    least = Math.min(least, performance.now() - start);
  }
  return least;
}
