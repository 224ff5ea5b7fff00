/** The limits of a device's mappings (struct device_dma_parameters and its functions dma_get_* and dma_set_*). */
import { checkSize, describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import { SLOT_SIZE } from '../bounce/slots.ts';

/** dma_opt_mapping_size under an IOMMU: the largest IOVA that the kernel caches, in pages (iova_rcache_range). */
const CACHED_GRANULES = 32;

/** The kernel has an unsigned int min_align_mask. Here the mask is limited to the bits that bit operators reach. */
const MAX_ALIGN_MASK = 2 ** 30 - 1;

/** The values that the limits are computed from. */
export interface LimitSource {
  /** Bytes of the smallest piece that the IOMMU or the memory deals in, a power of two. */
  readonly granule: number;
  readonly mergeBoundary: number;
  /** Bytes of a cache line that syncs have to respect. It is 1 if the device is coherent. */
  readonly cacheAlignment: number;
  /** Bytes of the largest streaming mapping of memory that meets `dmaAlignment`, wherever else the memory lies. */
  maxMappingSize(): number;
  /** Bytes of the largest mapping that can be copied. */
  maxBounceSize(): number;
}

/** The limits of one device. The defaults are those of a PCI function. */
export class DmaLimits {
  readonly #source: LimitSource;
  #maxSegmentSize = 65_536;
  #segmentBoundary = 0xffff_ffff;
  #minAlignMask = 0;
  #dmaAlignment = 0;

  constructor(source: LimitSource) {
    this.#source = source;
  }

  /**
   * Bytes of the largest streaming mapping (dma_max_mapping_size). While nothing else is mapped, any memory of that
   * many bytes can be mapped, wherever in its page it starts. The value follows the mask and the limits below.
   */
  get maxMappingSize(): number {
    return this.#dmaAlignment === 0 ? this.maxAlignedMappingSize : this.maxBounceSize;
  }

  /** As `maxMappingSize`, for memory that begins at a multiple of `dmaAlignment` + 1 and so need not be copied. */
  get maxAlignedMappingSize(): number {
    return this.#source.maxMappingSize();
  }

  /** Bytes of the largest streaming mapping of memory that has to be copied (swiotlb_max_mapping_size). */
  get maxBounceSize(): number {
    return this.#source.maxBounceSize();
  }

  /** Bytes up to which mappings are cheap (dma_opt_mapping_size). This is 32 pages with an IOMMU. */
  get optMappingSize(): number {
    if (this.mergeBoundary === 0) return this.maxMappingSize;
    return Math.min(this.maxMappingSize, CACHED_GRANULES * this.#source.granule);
  }

  /**
   * Neighbours in a list merge if they meet at a multiple of this + 1. They never merge if it is 0
   * (dma_get_merge_boundary).
   */
  get mergeBoundary(): number {
    return this.#source.mergeBoundary;
  }

  /**
   * Bytes that buffers should be aligned to (dma_get_cache_alignment). Buffers should not share a block of so many
   * bytes, so that the sync of one cannot damage another.
   */
  get cacheAlignment(): number {
    return this.#source.cacheAlignment;
  }

  /** The longest segment that merging makes (dma_get_max_seg_size). Default 64 KiB. */
  get maxSegmentSize(): number {
    return this.#maxSegmentSize;
  }

  /** Set the longest segment (dma_set_max_seg_size). @throws DmaError EINVAL */
  set maxSegmentSize(size: number) {
    checkSize(size, 'the maximum segment size');
    this.#maxSegmentSize = size;
  }

  /**
   * No segment crosses a multiple of this + 1 (dma_get_seg_boundary). The exception is an element that crosses one at
   * every address. The caller has to avoid that element, and dma-debug reports it. Default 4 GiB - 1, as for PCI.
   */
  get segmentBoundary(): number {
    return this.#segmentBoundary;
  }

  /** Set the segment boundary (dma_set_seg_boundary). @throws DmaError EINVAL unless it is 2^n - 1 */
  set segmentBoundary(mask: number) {
    if (!isOnes(mask)) {
      throw new DmaError('EINVAL', `the segment boundary is ${describe(mask)}`, { remedy: 'pass 2^n - 1' });
    }
    this.#segmentBoundary = mask;
  }

  /** The low bits of an address that bouncing keeps (dma_get_min_align_mask). Default 0. */
  get minAlignMask(): number {
    return this.#minAlignMask;
  }

  /**
   * Set the low bits that bouncing keeps (dma_set_min_align_mask). Behind an IOMMU the kernel accepts any mask, and
   * fails every mapping if the mask exceeds the IOMMU's page (__iommu_dma_map: "Unsupported alignment constraint").
   * Here a mask of that size is refused at once. Without an IOMMU the size of the mask does not matter.
   * @throws DmaError EINVAL unless it is 0 or 2^n - 1; behind an IOMMU, below the granule
   */
  set minAlignMask(mask: number) {
    const most = this.mergeBoundary === 0 ? MAX_ALIGN_MASK : this.#source.granule - 1;
    if (mask !== 0 && (!isOnes(mask) || mask > most)) {
      throw new DmaError('EINVAL', `the minimum alignment mask is ${describe(mask)}`, {
        remedy: `pass 0 or 2^n - 1, at most ${most}`,
      });
    }
    this.#minAlignMask = mask;
  }

  /**
   * The low bits that must be 0 in every address that the device accepts. Streaming mappings copy memory that begins
   * elsewhere to an address where they are 0. The block layer does that for its drivers (blk_queue_dma_alignment,
   * bio_copy_user_iov). Default 0.
   */
  get dmaAlignment(): number {
    return this.#dmaAlignment;
  }

  /** @throws DmaError EINVAL unless it is 0 or 2^n - 1, below the alignment of a bounce slot (2 KiB) */
  set dmaAlignment(mask: number) {
    if (mask !== 0 && (!isOnes(mask) || mask >= SLOT_SIZE)) {
      throw new DmaError('EINVAL', `the DMA alignment is ${describe(mask)}`, {
        remedy: `pass 0 or 2^n - 1, at most ${SLOT_SIZE - 1}`,
      });
    }
    this.#dmaAlignment = mask;
  }
}

/** True for 2^n - 1 with n from 1 to 53. */
function isOnes(mask: number): boolean {
  return Number.isSafeInteger(mask) && mask > 0 && 2 ** Math.round(Math.log2(mask + 1)) === mask + 1;
}
