/**
 * An address as a device puts it on the bus: one number, or two halves of 32 bits as in descriptors. V8 allocates
 * memory each time a number above 2^31 is passed to a function that is not inlined. Two halves never cost an
 * allocation.
 */
import { argumentError } from '../arguments.ts';

const WORD = 2 ** 32;
/** From this high half on, a JavaScript number cannot hold the whole address exactly. */
const INEXACT = 2 ** 21;

/** The number nearest to the address. @param high the high half, if `address` is the low half (signed or not) */
export function nearestNumber(address: bigint | number, high: number | undefined): number {
  return high === undefined ? Number(address) : high * WORD + ((address as number) >>> 0);
}

/**
 * The address as faults tell it.
 * @throws DmaError EINVAL a model gave something that is no address
 */
export function faultAddress(address: bigint | number): bigint {
  if (typeof address === 'bigint' || Number.isInteger(address)) return BigInt(address);
  throw argumentError(
    'the address that a device model put on the bus',
    address,
    'pass a whole number or a bigint',
  );
}

/** The exact address. */
export function wholeAddress(address: bigint | number, high: number | undefined): bigint | number {
  if (high === undefined) return address;
  const low = (address as number) >>> 0;
  return high < INEXACT ? high * WORD + low : (BigInt(high) << 32n) | BigInt(low);
}
