/**
 * The addresses that the allocator may use: the usable ranges of an address space, without two pages. Page 0 is left
 * out, so that 0 is always recognisable as a bad address. The last page below 2^53 is left out, so that the end of an
 * allocation is always a safe integer (the kernel keeps the last page of 2^64 for DMA_MAPPING_ERROR).
 */
import { DmaError } from '../errors.ts';
import type { IovaRange } from './address-space.ts';

/** Whole pages, ends exclusive. */
export interface PageRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Ascending page-aligned ranges. Neighbours that touch are merged.
 * @throws DmaError EINVAL if the ranges are not ascending and disjoint, or not below 2^53
 */
export function trimRanges(ranges: readonly IovaRange[], pageSize: number): PageRange[] {
  const roof = 2 ** 53 - pageSize;
  const trimmed: { start: number; end: number }[] = [];
  let previous = -1;
  for (const range of ranges) {
    checkRange(range, previous);
    previous = range.end;
    const start = Math.max(pageSize, Math.ceil(range.start / pageSize) * pageSize);
    const end = Math.min(roof, Math.floor((range.end + 1) / pageSize) * pageSize);
    if (start >= end) continue;
    const below = trimmed.at(-1);
    if (below !== undefined && below.end === start) below.end = end;
    else trimmed.push({ start, end });
  }
  return trimmed;
}

function checkRange({ start, end }: IovaRange, previous: number): void {
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && start > previous && end >= start) return;
  throw new DmaError('EINVAL', `IOVA range ${start}..${end} after ${previous}`, {
    remedy: 'pass ranges in ascending order that do not overlap, with inclusive ends below 2^53',
  });
}

/** The smallest power of two that is at least `value`; exact up to 2^53. */
export function powerOfTwoCeil(value: number): number {
  let power = 1;
  while (power < value) power *= 2;
  return power;
}

/** Do `bytes`, aligned to their power of two, fit into an empty space without passing `limit`? */
export function fitsEmpty(ranges: readonly PageRange[], bytes: number, limit: number): boolean {
  const align = powerOfTwoCeil(bytes);
  return ranges.some(({ start, end }) => {
    const first = Math.ceil(start / align) * align;
    return first + bytes <= end && first + bytes - 1 <= limit;
  });
}
