import { describe } from './arguments.ts';
import { DmaError } from './errors.ts';

/** The size of a page, or of what else comes in powers of two, that a caller gave. @throws DmaError EINVAL */
export function checkPageSize(pageSize: number, what = 'the page size'): void {
  if (Number.isSafeInteger(pageSize) && pageSize > 0 && Number.isInteger(Math.log2(pageSize))) return;
  throw new DmaError('EINVAL', `${what} is ${describe(pageSize)}`, { remedy: 'pass a power of two' });
}
