/** DMA masks. A mask is the highest address that a device can put on the bus, as an all-ones number. */
import { describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';

/** The mask of every device until its driver sets another one (kernel-api: "32-bit by default"). */
export const DEFAULT_MASK = 0xffff_ffffn;

/**
 * The all-ones mask of `bits` address bits (DMA_BIT_MASK).
 * @throws DmaError EINVAL unless 1 <= bits <= 64
 */
export function dmaBitMask(bits: number): bigint {
  if (Number.isInteger(bits) && bits >= 1 && bits <= 64) return (1n << BigInt(bits)) - 1n;
  throw new DmaError('EINVAL', `a DMA mask of ${describe(bits)} bits`, { remedy: 'pass 1 to 64' });
}

/**
 * The last address that the mask allows. Addresses are plain numbers inside the library, so a mask wider than 53 bits
 * allows all of them.
 */
export function maskLimit(mask: bigint): number {
  return mask > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(mask);
}

/**
 * Check that a mask has no holes. The kernel only compares addresses with a mask, so a mask with holes would silently
 * allow addresses that it seems to forbid.
 * @throws DmaError EINVAL unless the mask is 2^n - 1 with 1 <= n <= 64
 */
export function checkMask(mask: bigint): void {
  if (typeof mask === 'bigint' && mask > 0n && mask < 1n << 64n && (mask & (mask + 1n)) === 0n) return;
  const shown = typeof mask === 'bigint' && mask >= 0n ? `0x${mask.toString(16)}` : describe(mask);
  throw new DmaError('EINVAL', `${shown} is not a DMA mask`, {
    remedy: 'use dmaBitMask(n), a bigint of n one bits',
  });
}
