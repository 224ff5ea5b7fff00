/** The room under a mask: arithmetic over ranges of device addresses. The first granule is never used. */
import type { IovaRange } from '../../iommu/address-space.ts';

/** Allocations of at most so many granules use a whole power of two of them (iova_rcache_range). */
const WHOLE_GRANULES = 32;

/** Bytes of whole granules at or below `limit`. */
export function roomBelow(ranges: readonly IovaRange[], granule: number, limit: number): number {
  return rangesBelow(ranges, granule, limit).reduce((sum, { first, after }) => sum + after - first, 0);
}

/**
 * Bytes of the largest power of two that is available at or below `limit`, aligned to itself. It is 0 if there is
 * none.
 */
export function largestBlock(ranges: readonly IovaRange[], granule: number, limit: number): number {
  let largest = 0;
  for (const { first, after } of rangesBelow(ranges, granule, limit)) {
    for (let size = granule; size <= after - first; size *= 2) {
      if (Math.ceil(first / size) * size + size <= after) largest = Math.max(largest, size);
    }
  }
  return largest;
}

/**
 * Bytes of the longest run of addresses at or below `limit` if all are free. Runs are aligned to their size rounded
 * up to a power of two, and short runs use all of that power of two.
 */
export function longestRun(ranges: readonly IovaRange[], granule: number, limit: number): number {
  let longest = largestBlock(ranges, granule, limit);
  for (const { first, after } of rangesBelow(ranges, granule, limit)) {
    for (let align = granule * 2 * WHOLE_GRANULES; align / 2 < after - first; align *= 2) {
      const size = Math.min(align, after - Math.ceil(first / align) * align);
      if (size > align / 2) longest = Math.max(longest, size);
    }
  }
  return longest;
}

/**
 * Bytes of the longest view that can get addresses at or below `limit`, wherever in its granule it starts. The first
 * and the last granule may each need a bounce page.
 */
export function longestView(ranges: readonly IovaRange[], granule: number, limit: number): number {
  const run = longestRun(ranges, granule, limit);
  const edges = 2 * granule;
  const whole = WHOLE_GRANULES * granule;
  if (roomBelow(ranges, granule, limit) - run >= edges) return run - granule;
  return Math.max(0, (run - edges > whole ? run - edges : run / 2) - granule);
}

/** The whole granules of each range. `after` is exclusive. */
function rangesBelow(
  ranges: readonly IovaRange[],
  granule: number,
  limit: number,
): { readonly first: number; readonly after: number }[] {
  return ranges
    .map(({ start, end }) => ({
      first: Math.max(Math.ceil(start / granule) * granule, granule),
      after: Math.floor((Math.min(end, limit) + 1) / granule) * granule,
    }))
    .filter(({ first, after }) => after > first);
}
