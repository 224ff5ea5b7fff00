/**
 * An address as a device puts it on the bus: one number, or two halves of 32 bits as in descriptors. V8 allocates
 * memory each time a number above 2^31 is passed to a function that is not inlined. Two halves never cost an
 * allocation.
 */

const WORD = 2 ** 32;
/** From this high half on, a JavaScript number cannot hold the whole address exactly. */
const INEXACT = 2 ** 21;

/** The number nearest to the address. @param high the high half, if `address` is the low half (signed or not) */
export function nearestNumber(address: bigint | number, high: number | undefined): number {
  return high === undefined ? Number(address) : high * WORD + ((address as number) >>> 0);
}

/** The exact address. */
export function wholeAddress(address: bigint | number, high: number | undefined): bigint | number {
  if (high === undefined) return address;
  const low = (address as number) >>> 0;
  return high < INEXACT ? high * WORD + low : (BigInt(high) << 32n) | BigInt(low);
}
