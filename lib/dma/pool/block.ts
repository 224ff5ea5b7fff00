/**
 * The blocks of a pool and the memory they lie in. A block object is made once, when its page is carved, and is
 * allocated again and again. The list of free blocks runs through these objects, never through memory that a device
 * can write.
 *
 *      pool's top -> block -> block -> END        an allocated block has a mark instead of a link, a dead one REVOKED
 *
 * Links are indices, not references: V8 stores a small integer without a write barrier.
 */

import { argumentError, describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import { lookAt } from '../../looks.ts';
import type { OwnRegion } from '../operations/own-memory.ts';
import type { DmaPool } from './pool.ts';

/**
 * A block of a DmaPool (the result of dma_pool_alloc). Once the block was freed, every member but `pool`, `index` and
 * `size` throws DmaError EINVAL. The pool uses the object again: when it allocates the block to the next caller, an object
 * kept beyond `free` becomes valid again. So drop the object when you free it.
 */
export interface DmaPoolBlock {
  readonly pool: DmaPool;
  /** The number of the block in its pool, from 0 on. It never changes. See `DmaPool.allocIndices`. */
  readonly index: number;
  /** Bytes: the pool's rounded size. */
  readonly size: number;
  /** The memory. The neighbours share its `buffer`: use `bytes.byteOffset` when you make other views. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The address of the first byte for the device. */
  readonly dmaAddress: bigint;
  /** The address bits 0 to 31. */
  readonly low: number;
  /** The address bits 32 to 63. */
  readonly high: number;
  /** Read a 32-bit word once and whole while the device may write it. @throws DmaError EINVAL misaligned or outside */
  load32(offset: number): number;
  /** Read a 64-bit word once and whole while the device may write it. @throws DmaError EINVAL misaligned or outside */
  load64(offset: number): bigint;
  /** Call `pool.free(block)`. @throws DmaError EINVAL freed before · ENODEV the pool is destroyed */
  free(): void;
  /** Free the block if it is still allocated. This is harmless after `free`. */
  [Symbol.dispose](): void;
}

/** One allocation of a pool, in whole units. It is naturally aligned unless it is declared memory. */
export class PoolChunk {
  readonly region: OwnRegion;
  readonly low: number;
  readonly high: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Uint32Array<ArrayBuffer>;
  readonly doubles: Float64Array<ArrayBuffer>;
  /** The library calls this before it reads a word that the device may write. Only simulated memory has it. */
  readonly look: (() => void) | undefined;
  /** The offset of the first unit that is not carved yet. */
  fresh = 0;

  constructor(region: OwnRegion) {
    const { address, buffer, byteOffset } = region;
    const size = region.declared ? region.size : buffer.byteLength;
    this.region = region;
    this.low = address >>> 0;
    this.high = Math.floor(address / 2 ** 32);
    this.bytes = new Uint8Array(buffer, byteOffset, size);
    this.words = new Uint32Array(buffer, byteOffset, Math.floor(size / 4));
    this.doubles = new Float64Array(buffer, byteOffset, Math.floor(size / 8));
    this.look = lookAt(buffer);
  }
}

/** Up to this size a loop of 8-byte stores is faster than the 20-50 ns that `fill` takes to start. */
const LONGEST_LOOP = 256;

// These are not exported: V8 folds a module's own constants, but loads imported ones.
const REVOKED = -2;
/** Each pool has a mark for its allocated blocks, this or below, so that one comparison tells that a block is its. */
const HELD = -4;
const LOWEST = -(2 ** 30);

/** The link of no block. */
export const NO_MARK = LOWEST - 1;

let last = HELD + 1;

/** The link of the allocated blocks of one pool. A mark is used again after a thousand million pools. */
export function newMark(): number {
  last = last > LOWEST ? last - 1 : HELD;
  return last;
}

/**
 * A block as its pool sees it. Its fields are declared, not defined. A definition would store undefined first, and V8
 * would then check every number that it loads from the field (1.2 to 2 ns a pair).
 */
export class PoolBlock implements DmaPoolBlock {
  declare readonly pool: DmaPool;
  declare readonly chunk: PoolChunk;
  /** The offset in the chunk. */
  declare readonly at: number;
  declare readonly index: number;
  /**
   * The index of the next free block, or the pool's END, or its mark, or STACKED (stack.ts), or REVOKED. All but indices
   * are negative.
   */
  declare link: number;
  declare view: Uint8Array<ArrayBuffer> | undefined;
  declare address: bigint | undefined;

  constructor(pool: DmaPool, chunk: PoolChunk, at: number, index: number) {
    this.pool = pool;
    this.chunk = chunk;
    this.at = at;
    this.index = index;
    this.link = REVOKED;
    this.view = undefined;
    this.address = undefined;
  }

  /** True while a driver holds the block. */
  get held(): boolean {
    return this.link <= HELD;
  }

  /** Take the block from the top of the free list. @returns the link to the block that is on top now */
  take(mark: number): number {
    const next = this.link;
    this.link = mark;
    return next;
  }

  /** The pool never allocates this block again, and the driver that holds it can no longer use it. */
  revoke(): void {
    this.link = REVOKED;
  }

  get size(): number {
    return this.pool.size;
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    if (this.link > HELD) throw usedAfterFree(this);
    this.view ??= viewOf(this);
    return this.view;
  }

  get dmaAddress(): bigint {
    if (this.link > HELD) throw usedAfterFree(this);
    this.address ??= BigInt(addressOf(this));
    return this.address;
  }

  get low(): number {
    if (this.link > HELD) throw usedAfterFree(this);
    return (this.chunk.low + this.at) >>> 0;
  }

  get high(): number {
    if (this.link > HELD) throw usedAfterFree(this);
    const { low, high } = this.chunk;
    return low + this.at < 2 ** 32 ? high : high + 1;
  }

  load32(offset: number): number {
    const index = this.#wordAt(offset, 4);
    this.chunk.look?.();
    return Atomics.load(this.chunk.words, index);
  }

  load64(offset: number): bigint {
    const index = this.#wordAt(offset, 8);
    const { buffer, byteOffset } = this.chunk.region;
    this.chunk.look?.();
    return Atomics.load(new BigUint64Array(buffer, byteOffset + index * 8, 1), 0);
  }

  free(): void {
    this.pool.free(this);
  }

  [Symbol.dispose](): void {
    if (this.held) this.pool.free(this);
  }

  /** Set every byte to 0, in any state of the block. */
  zero(): void {
    const { chunk, at } = this;
    const { size } = this.pool;
    if (size > LONGEST_LOOP || ((size | at) & 7) !== 0) {
      this.fill(0);
      return;
    }
    const { doubles } = chunk;
    const end = (at + size) >> 3;
    for (let index = at >> 3; index < end; index++) doubles[index] = 0;
  }

  /**
   * Set every byte to `value`, in any state of the block. It does nothing once the program has transferred the
   * memory.
   */
  fill(value: number): void {
    if (typeof value !== 'number') throw argumentError('the byte to fill with', value, 'pass a number');
    const { chunk, at } = this;
    if (chunk.bytes.length > 0) chunk.bytes.fill(value, at, at + this.pool.size);
  }

  /** The index of the word in an array over the whole chunk. Both the offset and the address must be aligned. */
  #wordAt(offset: number, width: number): number {
    if (this.link > HELD) throw usedAfterFree(this);
    const from = typeof offset === 'number' ? this.at + offset : -1;
    const inside = Number.isInteger(offset) && offset >= 0 && offset + width <= this.pool.size;
    if (inside && from % width === 0 && from + width <= this.chunk.bytes.length) return from / width;
    throw new DmaError(
      'EINVAL',
      `no ${width * 8}-bit word at offset ${describe(offset)} of ${this.pool.size} bytes`,
      {
        remedy: `use an offset inside the block, and a pool aligned to ${width}`,
      },
    );
  }
}

/** The address for the device, in any state of the block. */
export function addressOf({ chunk, at }: PoolBlock): number {
  return chunk.region.address + at;
}

function viewOf(block: PoolBlock): Uint8Array<ArrayBuffer> {
  const { chunk, at, pool } = block;
  if (chunk.bytes.length > 0) return chunk.region.view(at, pool.size);
  throw takenAway(block);
}

/** The error for a block whose memory the program has transferred. */
export function takenAway(block: PoolBlock): DmaError {
  return new DmaError(
    'EFAULT',
    `the memory of block ${hexAddress(block)} of pool '${block.pool.name}' was taken away`,
    {
      remedy: 'do not transfer the buffer of a block: it holds other blocks too',
    },
  );
}

/** The address as text for messages: `0x1000`. */
export function hexAddress(block: PoolBlock): string {
  return `0x${addressOf(block).toString(16)}`;
}

function usedAfterFree(block: PoolBlock): DmaError {
  const end = block.pool.closed ? 'its pool was destroyed' : 'it was freed';
  const what = `block ${hexAddress(block)} of pool '${block.pool.name}' used after ${end}`;
  const remedy = 'keep it until the device is done with it, and free it once';
  return block.pool.refuse('used-after-release', block, new DmaError('EINVAL', what, { remedy }));
}
