/** How a pool cuts memory into blocks: the rules of dma_pool_create (mm/dmapool.c), in their order. */
import { checkBoolean, checkedLater, checkSize, describe, type OptionChecks } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';

/** Options of `createPool` (dma_pool_create). */
export interface PoolOptions {
  /** Bytes that a block must hold, 1 to 2^31 - 1. */
  readonly size: number;
  /** Every block starts at a multiple of this on the bus. It is a power of two. Default 1 (0 means the same). */
  readonly align?: number;
  /**
   * No block crosses a multiple of this. It is a power of two, and not below the rounded size. Default 0: there is no
   * boundary.
   */
  readonly boundary?: number;
  /** The number of blocks that exist before the first `alloc`, rounded up to whole pages. At most 2^24. Default 0. */
  readonly blocks?: number;
  /** If false, the pool never grows: `alloc` returns null when all `blocks` are allocated. Default true. */
  readonly grow?: boolean;
  /**
   * If true, the pool fills freed blocks with 0xa7 and allocated ones with 0xa9. When it allocates a block again, it
   * looks for writes to the block while it was free (DMAPOOL_DEBUG). This costs a pass over the block per call.
   * Default false.
   */
  readonly poison?: boolean;
  /**
   * If true, the pool is meant to be released with the device (dmam_pool_create), and is then no leak. Default false.
   */
  readonly managed?: boolean;
}

export const POOL_CHECKS: OptionChecks<Required<PoolOptions>> = {
  size: checkSize,
  align: checkedLater,
  boundary: checkedLater,
  blocks: checkedLater,
  grow: checkBoolean,
  poison: checkBoolean,
  managed: checkBoolean,
};

export interface PoolLayout {
  /** Bytes from one block to the next: the requested size, rounded up to the alignment. */
  readonly size: number;
  /** Bytes between the boundaries that no block crosses. It divides `unit`. */
  readonly boundary: number;
  /** Bytes that are carved together: a page, or one block when that is larger. */
  readonly unit: number;
  /** The natural alignment of a unit: its bytes rounded up to a power of two. */
  readonly stride: number;
  /** A unit must start at a multiple of this. It is at most `stride`. */
  readonly alignment: number;
}

/** INT_MAX: dma_pool_create accepts no larger size. */
const MAX_SIZE = 2 ** 31 - 1;

/**
 * Compute the layout. The kernel's minimum of 16 bytes is missing on purpose: its free list lives inside the blocks,
 * ours does not.
 * @param page the smallest piece of memory that a device can be given, bytes, a power of two
 * @throws DmaError EINVAL
 */
export function poolLayout({ size, align = 1, boundary = 0 }: PoolOptions, page: number): PoolLayout {
  const alignment = align === 0 ? 1 : align;
  if (!isPowerOfTwo(alignment)) {
    throw new DmaError('EINVAL', `a pool aligned to ${describe(align)}`, { remedy: 'pass a power of two' });
  }
  checkSize(size, 'the size of a pool block', MAX_SIZE);
  const rounded = Math.ceil(size / alignment) * alignment;
  if (boundary !== 0 && !(isPowerOfTwo(boundary) && boundary >= rounded)) {
    throw new DmaError('EINVAL', `a pool boundary of ${describe(boundary)} with blocks of ${rounded} bytes`, {
      remedy: 'pass 0, or a power of two that holds a block',
    });
  }
  const unit = Math.max(rounded, page);
  let stride = page;
  while (stride < unit) stride *= 2;
  return {
    size: rounded,
    boundary: boundary === 0 ? unit : Math.min(boundary, unit),
    unit,
    stride,
    alignment: Math.max(alignment, Math.min(boundary, stride)),
  };
}

function isPowerOfTwo(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && 2 ** Math.round(Math.log2(value)) === value;
}
