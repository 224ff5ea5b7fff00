/** The address ranges of an IOMMU, without those that must not be used, as whole pages below 2^53. */
import type { IovaRange } from './address-space.ts';

/**
 * @param bounds start, end, start, end, ... as the kernel reports them; ends inclusive, in any order
 * @param reserved addresses to leave out, in any order; if one touches a page, the whole page is left out
 * @returns ascending, disjoint; every `start` and `end + 1` a multiple of `pageSize`
 */
export function usableRanges(
  bounds: readonly bigint[],
  reserved: readonly IovaRange[],
  pageSize: number,
): IovaRange[] {
  const holes = reserved.map(({ start, end }) => ({
    start: Math.floor(start / pageSize) * pageSize,
    end: Math.floor(end / pageSize) * pageSize + pageSize - 1,
  }));
  return wholePages(bounds, pageSize)
    .flatMap((range) =>
      holes.reduce<IovaRange[]>((parts, hole) => parts.flatMap((p) => without(p, hole)), [range]),
    )
    .sort((a, b) => a.start - b.start);
}

function wholePages(bounds: readonly bigint[], pageSize: number): IovaRange[] {
  const page = BigInt(pageSize);
  const roof = BigInt(Number.MAX_SAFE_INTEGER);
  const ranges: IovaRange[] = [];
  for (let i = 0; i + 1 < bounds.length; i += 2) {
    const last = bounds[i + 1]! < roof ? bounds[i + 1]! : roof;
    const start = ((bounds[i]! + page - 1n) / page) * page;
    const end = ((last + 1n) / page) * page - 1n;
    if (start < end) ranges.push({ start: Number(start), end: Number(end) });
  }
  return ranges;
}

function without({ start, end }: IovaRange, hole: IovaRange): IovaRange[] {
  if (hole.end < start || hole.start > end) return [{ start, end }];
  const parts: IovaRange[] = [];
  if (hole.start > start) parts.push({ start, end: hole.start - 1 });
  if (hole.end < end) parts.push({ start: hole.end + 1, end });
  return parts;
}
