/**
 * An address as a device puts it on the bus: whole, or in two halves of 32 bits as descriptors have it. A number above
 * 2^31 costs V8 an allocation each time it is handed to a function that is not inlined; two halves never do.
 */

const WORD = 2 ** 32;
/** From this high half on a number does not hold the whole exactly. */
const INEXACT = 2 ** 21;

/** The nearest number. @param high of an address whose low half is `address`, signed or not */
export function nearestNumber(address: bigint | number, high: number | undefined): number {
  return high === undefined ? Number(address) : high * WORD + ((address as number) >>> 0);
}

/** All of it. */
export function wholeAddress(address: bigint | number, high: number | undefined): bigint | number {
  if (high === undefined) return address;
  const low = (address as number) >>> 0;
  return high < INEXACT ? high * WORD + low : (BigInt(high) << 32n) | BigInt(low);
}
