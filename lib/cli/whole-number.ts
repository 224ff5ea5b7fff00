/** Numbers of the command line. */
import { DmaError } from '../errors.ts';

/** @param what its name @throws DmaError EINVAL */
export function wholeNumber(what: string, text: string | undefined): number {
  const value = Number(text);
  if (text?.trim() && Number.isSafeInteger(value) && value >= 0) return value;
  throw new DmaError('EINVAL', `${what} is ${JSON.stringify(text)}`, {
    remedy: 'write a whole number, e.g. 16 or 0x10',
  });
}
