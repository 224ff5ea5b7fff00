/**
 * How a list of pieces of memory becomes DMA segments. This is pure arithmetic without the state of a device
 * (iommu_dma_map_sg and __finalise_sg of drivers/iommu/dma-iommu.c).
 *
 *      elements     [  a 8 KiB  ]   [ b 4 KiB ]   [c 1 KiB]   [ d 4 KiB ]
 *      IOVA run     |   a   |   a   |   b   |c......|   d   |               whole granules each, in order
 *      segments     |========= 1 ===========|=2=|   |== 3 ==|               neighbours that meet on a granule merge
 *
 * Every IOVA allocation starts at a multiple of its size rounded up to a power of two, and so does a run. A run that
 * is no longer than the segment boundary therefore cannot cross one. A longer run starts on one. So the layout does
 * not depend on the address, and is made before there is one.
 */

export interface SegmentLimits {
  /** The smallest piece of memory that the IOMMU maps, bytes, a power of two. */
  readonly granule: number;
  /** Merging makes no segment longer than this, bytes. A longer element stays whole (dma_get_max_seg_size). */
  readonly maxSegmentSize: number;
  /** No segment crosses a multiple of this + 1. It is 2^n - 1 (dma_get_seg_boundary). */
  readonly segmentBoundary: number;
}

export interface RunElement {
  /** The offset of the first byte in its granule, 0 to granule - 1. */
  readonly start: number;
  /** Bytes, at least 1. */
  readonly length: number;
}

export interface RunPlan {
  /** Bytes of the whole run, a multiple of the granule. */
  readonly total: number;
  /** The offset in the run of each element's first byte. */
  readonly offsets: Float64Array;
  /** The segments that the device is given. Their addresses count from the start of the run. */
  readonly segments: SegmentList;
}

/** Lay elements out in one run of device addresses, and merge elements that become contiguous. O(n). */
export function planRun(elements: readonly RunElement[], limits: SegmentLimits): RunPlan {
  const { granule, segmentBoundary } = limits;
  const offsets = new Float64Array(elements.length);
  const segments = new SegmentList(limits);
  let total = 0;
  for (let i = 0; i < elements.length; i++) {
    const { start, length } = elements[i]!;
    const span = roundUp(start + length, granule);
    total += paddingBefore(total, span, segmentBoundary + 1);
    offsets[i] = total + start;
    segments.push(total + start, length);
    total += span;
  }
  return { total, offsets, segments };
}

/** Bytes left unused at `position`, so that the next `span` bytes do not cross a multiple of `stride` needlessly. */
function paddingBefore(position: number, span: number, stride: number): number {
  const used = position % stride;
  return used === 0 || span <= stride - used ? 0 : stride - used;
}

/** `size` rounded up to a multiple of `granule`. */
export function roundUp(size: number, granule: number): number {
  return Math.ceil(size / granule) * granule;
}

/** True if [address, address + length) crosses a multiple of `segmentBoundary` + 1. */
export function crossesBoundary(address: number, length: number, segmentBoundary: number): boolean {
  // Division by a power of two is exact. The remainder operator is many times slower on numbers beyond 32 bits.
  const stride = segmentBoundary + 1;
  return Math.floor(address / stride) !== Math.floor((address + length - 1) / stride);
}

const WORD = 2 ** 32;

/**
 * Segments in order, as arrays that are kept and refilled. Entries at and beyond `count` are stale. Segments merge as
 * in the kernel. An element joins the segment before it if three conditions hold. The element starts where that
 * segment ends. It starts at a multiple of the granule that is not a multiple of the segment boundary. Together the
 * two are not too long.
 */
export class SegmentList {
  count = 0;
  /** The device address of each segment's first byte, below 2^53. */
  addresses: Float64Array;
  /** Bytes of each segment. */
  lengths: Float64Array;

  private end = -1;
  private granuleMask = 0;
  private boundaryLow = 0;
  private boundaryHigh = 0;
  private maxSegmentSize = 0;

  constructor(limits: SegmentLimits, capacity = 16) {
    this.addresses = new Float64Array(capacity);
    this.lengths = new Float64Array(capacity);
    this.reset(limits);
  }

  /** Empty the list, and set the limits of the next one. */
  reset({ granule, maxSegmentSize, segmentBoundary }: SegmentLimits): void {
    this.count = 0;
    this.end = -1;
    this.granuleMask = granule - 1;
    this.maxSegmentSize = maxSegmentSize;
    this.boundaryLow = segmentBoundary | 0;
    this.boundaryHigh = (segmentBoundary / WORD) | 0;
  }

  /** Add the next element. It is merged into the last segment if the limits allow it. */
  push(address: number, length: number): void {
    const last = this.count - 1;
    if (address === this.end && this.#mergesAt(address)) {
      const merged = this.lengths[last]! + length;
      if (merged <= this.maxSegmentSize) {
        this.lengths[last] = merged;
        this.end = address + length;
        return;
      }
    }
    this.pushAlone(address, length);
  }

  /** Add the next element as a segment of its own, which the following `push` may extend. */
  pushAlone(address: number, length: number): void {
    const index = this.count;
    if (index === this.addresses.length) this.#grow();
    this.addresses[index] = address;
    this.lengths[index] = length;
    this.count = index + 1;
    this.end = address + length;
  }

  #mergesAt(address: number): boolean {
    const low = address | 0;
    if ((low & this.granuleMask) !== 0) return false;
    return (low & this.boundaryLow) !== 0 || (Math.floor(address / WORD) & this.boundaryHigh) !== 0;
  }

  #grow(): void {
    const { addresses, lengths } = this;
    this.addresses = new Float64Array(addresses.length * 2);
    this.addresses.set(addresses);
    this.lengths = new Float64Array(lengths.length * 2);
    this.lengths.set(lengths);
  }
}
