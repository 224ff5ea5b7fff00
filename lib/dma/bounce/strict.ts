/**
 * The bounce buffer of `isolation: 'strict'`. Its memory has addresses, but the device finds nothing there until a
 * mapping is placed (streaming/strict.ts). Only whole granules can be placed, so that no two runs share one.
 */
import { describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import type { DmaOperations } from '../operations/operations.ts';
import { BounceBuffer, type BounceOptions } from './bounce.ts';

/** A bounce buffer whose memory the device reaches only while a mapping is in it. */
export class StrictBounceBuffer extends BounceBuffer {
  override take(size: number, pad: number, align: number): number {
    return super.take(size, pad, Math.max(align, this.operations.granule));
  }

  /** The next mapping in these slots has zeros around its bytes, and no bytes that the device wrote there. */
  override give(slot: number): void {
    this.giveSoiled(slot);
  }

  protected override allocate(size: number, limit: number): DeviceRange {
    const range = super.allocate(size, limit);
    // The allocation filled the memory with zeros and mapped it. It is unmapped until a mapping is placed there.
    this.operations.unmap(range.address, range.span);
    return range;
  }
}

/**
 * True if bounced mappings are isolated from each other.
 * @throws DmaError EINVAL unknown isolation · EOPNOTSUPP 'strict' was given, and there is no IOMMU for it
 */
export function isStrict({ isolation = 'fast' }: BounceOptions, operations: DmaOperations): boolean {
  if (isolation === 'fast') return false;
  if (isolation !== 'strict') {
    throw new DmaError('EINVAL', `bounce.isolation is ${describe(isolation)}`, {
      remedy: `pass 'fast' or 'strict'`,
    });
  }
  if (operations.domain !== undefined) return true;
  throw new DmaError('EOPNOTSUPP', `bounce.isolation is 'strict', and no IOMMU is there to keep it`, {
    remedy:
      'open the function by VFIO with an IOMMU, or leave the option out: nothing keeps the device from any memory',
  });
}
