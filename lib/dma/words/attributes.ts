/** The attributes of a mapping, with the kernel's bit numbers (include/linux/dma-mapping.h, dma-attributes.rst). */
import { describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';

/** The attributes of mappings and allocations (DMA_ATTR_*). Combine them with |. */
export const DMA_ATTR = {
  /** This is ignored: relaxed ordering is set in the device's PCIe capability. */
  WEAK_ORDERING: 1 << 1,
  /** This is ignored for cached memory, which the kernel allows. */
  WRITE_COMBINE: 1 << 2,
  /** This concerns allocations. Mappings ignore it. */
  NO_KERNEL_MAPPING: 1 << 4,
  /**
   * Nothing is transferred to the CPU at unmap, or to the device at map. As in the kernel, mapping through the bounce
   * buffer still copies in.
   */
  SKIP_CPU_SYNC: 1 << 5,
  /** This concerns allocations. Mappings ignore it. */
  FORCE_CONTIGUOUS: 1 << 6,
  /** This is a hint to allocations. Mappings ignore it. */
  ALLOC_SINGLE_PAGES: 1 << 7,
  /** A failure is thrown, but reported nowhere else. */
  NO_WARN: 1 << 8,
  /** This is ignored: a user-space driver has one privilege level. */
  PRIVILEGED: 1 << 9,
  /** This is for registers of another function, never for memory. */
  MMIO: 1 << 10,
  /** This is for the checks of dma-debug. */
  DEBUGGING_IGNORE_CACHELINES: 1 << 11,
  /** The call fails with EPERM rather than bounce or maintain caches. */
  REQUIRE_COHERENT: 1 << 12,
} as const;

const KNOWN = Object.values(DMA_ATTR).reduce((bits, bit) => bits | bit, 0);
/** These bits are gone from the kernel: DMA_ATTR_WRITE_BARRIER (bit 0) and DMA_ATTR_NON_CONSISTENT (bit 3). */
const REMOVED = (1 << 0) | (1 << 3);

/** @throws DmaError EINVAL for bits that never had a meaning, or that have lost it */
export function checkAttributes(attributes: number): void {
  if (
    Number.isSafeInteger(attributes) &&
    attributes >= 0 &&
    attributes <= KNOWN &&
    (attributes & ~KNOWN) === 0
  ) {
    return;
  }
  const isNumber = typeof attributes === 'number';
  const removed =
    isNumber && (attributes & REMOVED) !== 0 ? 'bits 0 and 3 were removed from the kernel; ' : '';
  throw new DmaError('EINVAL', `the attributes are ${describe(attributes)}`, {
    remedy: `${removed}combine members of DMA_ATTR with |`,
  });
}

/**
 * The attributes of a mapping that the driver unmaps with `given` (dma_unmap_page_attrs). SKIP_CPU_SYNC follows
 * `given`. The other attributes stay as mapped, and `given` must not add one to them.
 * @throws DmaError EINVAL
 */
export function endAttributes(mapped: number, given: number): number {
  checkAttributes(given);
  const mistaken = given & ~mapped & ~DMA_ATTR.SKIP_CPU_SYNC;
  if (mistaken !== 0) {
    throw new DmaError('EINVAL', `attributes ${given} for the end of a mapping with ${mapped}`, {
      remedy: 'pass DMA_ATTR.SKIP_CPU_SYNC, 0, or what it was mapped with',
    });
  }
  return (mapped & ~DMA_ATTR.SKIP_CPU_SYNC) | (given & DMA_ATTR.SKIP_CPU_SYNC);
}

/** The attributes that an allocation accepts. They change nothing here. */
const OF_ALLOCATIONS =
  DMA_ATTR.WEAK_ORDERING |
  DMA_ATTR.WRITE_COMBINE |
  DMA_ATTR.ALLOC_SINGLE_PAGES |
  DMA_ATTR.NO_WARN |
  DMA_ATTR.PRIVILEGED;

/**
 * Check the attributes of an allocation (dma_alloc_attrs).
 * @param contiguous true if the memory is always physically contiguous; behind an IOMMU it need not be
 * @throws DmaError EOPNOTSUPP FORCE_CONTIGUOUS where memory is not contiguous, NO_KERNEL_MAPPING · EINVAL others, by
 *   name
 */
export function checkAllocationAttributes(attributes: number, contiguous: boolean): void {
  checkAttributes(attributes);
  if ((attributes & DMA_ATTR.FORCE_CONTIGUOUS) !== 0 && !contiguous) {
    throw new DmaError('EOPNOTSUPP', 'behind an IOMMU memory is contiguous for the device only', {
      remedy: 'leave DMA_ATTR.FORCE_CONTIGUOUS out, or take huge pages',
    });
  }
  if ((attributes & DMA_ATTR.NO_KERNEL_MAPPING) !== 0) {
    throw new DmaError('EOPNOTSUPP', 'memory is always mapped for the CPU', {
      remedy: 'leave DMA_ATTR.NO_KERNEL_MAPPING out',
    });
  }
  const wrong = attributes & ~(OF_ALLOCATIONS | DMA_ATTR.FORCE_CONTIGUOUS);
  if (wrong === 0) return;
  const names = Object.entries(DMA_ATTR).filter(([, bit]) => (wrong & bit) !== 0);
  throw new DmaError('EINVAL', `DMA_ATTR.${names.map(([name]) => name).join(', ')} is not for allocations`, {
    remedy: 'leave it out',
  });
}

/**
 * Check the attributes of a mapping of memory. DMA_ATTR.MMIO is forbidden there.
 * @throws DmaError EINVAL
 */
export function checkMemoryAttributes(attributes: number): void {
  checkAttributes(attributes);
  if ((attributes & DMA_ATTR.MMIO) === 0) return;
  throw new DmaError('EINVAL', 'DMA_ATTR.MMIO is for registers, and this is memory', {
    remedy: 'leave it out',
  });
}
