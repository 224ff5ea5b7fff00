/** Attributes of a mapping, with the kernel's bit numbers (include/linux/dma-mapping.h, dma-attributes.rst). */
import { describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';

/** Attributes of mappings and allocations, combined with | (DMA_ATTR_*). */
export const DMA_ATTR = {
  /** Ignored: relaxed ordering is a matter of the device's PCIe capability. */
  WEAK_ORDERING: 1 << 1,
  /** Ignored where memory is cached, which the kernel allows. */
  WRITE_COMBINE: 1 << 2,
  /** Concerns allocations; ignored by mappings. */
  NO_KERNEL_MAPPING: 1 << 4,
  /** No transfer to the CPU at unmap, none to the device at map. As in the kernel, a bounced map still copies in. */
  SKIP_CPU_SYNC: 1 << 5,
  /** Concerns allocations; ignored by mappings. */
  FORCE_CONTIGUOUS: 1 << 6,
  /** A hint to allocations; ignored by mappings. */
  ALLOC_SINGLE_PAGES: 1 << 7,
  /** A failure is thrown, but reported nowhere else. */
  NO_WARN: 1 << 8,
  /** Ignored: a user-space driver has one privilege level. */
  PRIVILEGED: 1 << 9,
  /** For registers of another function, never for memory. */
  MMIO: 1 << 10,
  /** For the checks of the debug layer. */
  DEBUGGING_IGNORE_CACHELINES: 1 << 11,
  /** Fail with EPERM rather than bounce or maintain caches. */
  REQUIRE_COHERENT: 1 << 12,
} as const;

const KNOWN = Object.values(DMA_ATTR).reduce((bits, bit) => bits | bit, 0);
/** DMA_ATTR_WRITE_BARRIER (bit 0) and DMA_ATTR_NON_CONSISTENT (bit 3) are gone from the kernel. */
const REMOVED = (1 << 0) | (1 << 3);

/** @throws DmaError EINVAL for bits that have no meaning, or none any more */
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
 * Attributes of a mapping that ends with `given` (dma_unmap_page_attrs): only whether the CPU's side is synced is a
 * matter of the end. @throws DmaError EINVAL
 */
export function endAttributes(mapped: number, given: number): number {
  checkMemoryAttributes(given);
  const mistaken = given & ~mapped & ~DMA_ATTR.SKIP_CPU_SYNC;
  if (mistaken !== 0) {
    throw new DmaError('EINVAL', `attributes ${given} for the end of a mapping with ${mapped}`, {
      remedy: 'pass DMA_ATTR.SKIP_CPU_SYNC, 0, or what it was mapped with',
    });
  }
  return (mapped & ~DMA_ATTR.SKIP_CPU_SYNC) | (given & DMA_ATTR.SKIP_CPU_SYNC);
}

/** Attributes that an allocation takes; none of them changes anything here, but for those below. */
const OF_ALLOCATIONS =
  DMA_ATTR.WEAK_ORDERING |
  DMA_ATTR.WRITE_COMBINE |
  DMA_ATTR.ALLOC_SINGLE_PAGES |
  DMA_ATTR.NO_WARN |
  DMA_ATTR.PRIVILEGED;

/**
 * Attributes for memory that is allocated (dma_alloc_attrs).
 * @param contiguous whether it is physically contiguous anyway, which an IOMMU makes unnecessary
 * @throws DmaError EOPNOTSUPP FORCE_CONTIGUOUS where memory is not, NO_KERNEL_MAPPING · EINVAL others, by name
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
 * Attributes for memory that is mapped, which DMA_ATTR.MMIO forbids.
 * @throws DmaError EINVAL
 */
export function checkMemoryAttributes(attributes: number): void {
  checkAttributes(attributes);
  if ((attributes & DMA_ATTR.MMIO) === 0) return;
  throw new DmaError('EINVAL', 'DMA_ATTR.MMIO is for registers, and this is memory', {
    remedy: 'leave it out',
  });
}
