/** DMA masks: the highest address a device can put on the bus, as an all-ones number. */
import { describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';

/** The mask every device starts with, until its driver asks for another (kernel-api: "32-bit by default"). */
export const DEFAULT_MASK = 0xffff_ffffn;

/**
 * All-ones mask of `bits` address bits (DMA_BIT_MASK).
 * @throws DmaError EINVAL unless 1 <= bits <= 64
 */
export function dmaBitMask(bits: number): bigint {
  if (Number.isInteger(bits) && bits >= 1 && bits <= 64) return (1n << BigInt(bits)) - 1n;
  throw new DmaError('EINVAL', `a DMA mask of ${describe(bits)} bits`, { remedy: 'pass 1 to 64' });
}

/**
 * The mask as the last address it allows. Addresses are plain numbers inside the library, so a mask wider than
 * 53 bits means "all of them".
 */
export function maskLimit(mask: bigint): number {
  return mask > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(mask);
}

/**
 * The kernel only ever compares against a mask, so that one with holes would silently allow what it forbids.
 * @throws DmaError EINVAL unless the mask is 2^n - 1 with 1 <= n <= 64
 */
export function checkMask(mask: bigint): void {
  if (typeof mask === 'bigint' && mask > 0n && mask < 1n << 64n && (mask & (mask + 1n)) === 0n) return;
  const shown = typeof mask === 'bigint' && mask >= 0n ? `0x${mask.toString(16)}` : describe(mask);
  throw new DmaError('EINVAL', `${shown} is not a DMA mask`, {
    remedy: 'use dmaBitMask(n), a bigint of n one bits',
  });
}
