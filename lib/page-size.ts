import { argumentError } from './arguments.ts';

/** Checks the size of a page, or another power of two, that a caller gave. @throws DmaError EINVAL */
export function checkPageSize(pageSize: unknown, what = 'the page size'): void {
  const size = Number.isSafeInteger(pageSize) ? (pageSize as number) : 0;
  if (size > 0 && Number.isInteger(Math.log2(size))) return;
  throw argumentError(what, pageSize, 'pass a power of two');
}
