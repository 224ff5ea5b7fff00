/** What fits into a register. */
import { describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';

/**
 * The bit pattern of `value` as an unsigned number of `width` bytes. A negative int32 result of JavaScript's bit
 * operators (`1 << 31`) counts by its pattern.
 * @throws DmaError EINVAL
 */
export function registerValue(value: number, width: 1 | 2 | 4): number {
  const max = 2 ** (8 * width);
  if (Number.isInteger(value) && value < max && value >= -max / 2) return value < 0 ? value + max : value;
  throw new DmaError('EINVAL', `${describe(value)} does not fit a ${width * 8}-bit register`, {
    remedy: `pass a whole number below 2^${width * 8}`,
  });
}

/** As `registerValue` for 64 bits, negative values included. @throws DmaError EINVAL */
export function registerValue64(value: bigint): bigint {
  const pattern = typeof value === 'bigint' ? BigInt.asUintN(64, value) : undefined;
  if (pattern !== undefined && (pattern === value || BigInt.asIntN(64, value) === value)) return pattern;
  throw new DmaError('EINVAL', `${describe(value)} does not fit a 64-bit register`, {
    remedy: 'pass a bigint below 2^64',
  });
}
