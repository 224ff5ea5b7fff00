/** How a pool cuts memory into blocks: the rules of dma_pool_create (mm/dmapool.c), in their order. */
import { checkBoolean, checkedLater, checkSize, describe, type OptionChecks } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';

/** Options of `createPool` (dma_pool_create). */
export interface PoolOptions {
  /** Bytes a block must hold, 1 to 2^31 - 1. */
  readonly size: number;
  /** Every block starts at a multiple of this on the bus; a power of two. Default 1 (0 means the same). */
  readonly align?: number;
  /** No block crosses a multiple of this; a power of two, not below the rounded size. Default 0: no such rule. */
  readonly boundary?: number;
  /** Blocks that exist before the first `alloc`, rounded up to whole pages, at most 2^24. Default 0. */
  readonly blocks?: number;
  /** false: `alloc` returns null when these `blocks` are out, and never asks for memory. Default true. */
  readonly grow?: boolean;
  /**
   * Fill freed blocks with 0xa7 and allocated ones with 0xa9, and look for writes to a free block when it is
   * allocated again (DMAPOOL_DEBUG). Costs a pass over the block per call. Default false.
   */
  readonly poison?: boolean;
  /** Meant to be released with the device (dmam_pool_create): no leak then. Default false. */
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
  /** Bytes from block to block: the size asked for, rounded up to the alignment. */
  readonly size: number;
  /** Bytes between the borders no block crosses; divides `unit`. */
  readonly boundary: number;
  /** Bytes that are carved together: a page, or one block when that is larger. */
  readonly unit: number;
  /** Natural alignment of a unit: its bytes rounded up to a power of two. */
  readonly stride: number;
  /** What a unit must start at a multiple of: `stride` at most. */
  readonly alignment: number;
}

/** INT_MAX: dma_pool_create takes no more. */
const MAX_SIZE = 2 ** 31 - 1;

/**
 * The kernel's 16-byte floor is missing on purpose: its free list lives inside the blocks, ours does not.
 * @param page smallest piece of memory that a device can be given, bytes, a power of two
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
