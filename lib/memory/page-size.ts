import { DmaError } from '../errors.ts';

/** A page size a caller gave: a power of two. @throws DmaError EINVAL */
export function checkPageSize(pageSize: number): void {
  if (Number.isSafeInteger(pageSize) && pageSize > 0 && Number.isInteger(Math.log2(pageSize))) return;
  throw new DmaError('EINVAL', `the page size is ${String(pageSize)}`, { remedy: 'pass a power of two' });
}
