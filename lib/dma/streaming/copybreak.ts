/** The size from which on mapping memory in place is cheaper than copying it. */
import { type DmaOperations, reserveOrThrow } from '../operations/operations.ts';

/** About the size that was measured on several machines, between 14 and 130 KiB. */
export const DEFAULT_COPYBREAK = 32 * 1024;
/** Memory beyond swiotlb's longest mapping cannot be copied. */
const HIGHEST = 256 * 1024;
const ROUNDS = 8;

/**
 * Measure the size in bytes at which both ways take equally long. Mapping and unmapping one granule, and many, gives
 * the cost of a mapping and the cost of each byte. A copy gives the other side. The measurement takes a few dozen
 * system calls.
 * @returns between a granule and 256 KiB; the default if nothing can be mapped
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

/** The milliseconds of the fastest of several rounds. */
function fastest(act: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    act();
    least = Math.min(least, performance.now() - start);
  }
  return least;
}
