/**
 * The blocks of a pool and the memory they lie in. A block object is made once, when its page is carved, and handed
 * out again and again; the list of free blocks runs through these objects, never through memory a device can write.
 *
 *      pool's top -> block -> block -> END        instead of a link, a block that is out has OUT, a dead one REVOKED
 *
 * Links are indices, not references: a small integer is stored without a write barrier.
 */

import { argumentError, describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import { lookAt } from '../../looks.ts';
import type { OwnRegion } from '../operations/own-memory.ts';
import type { DmaPool } from './pool.ts';

/**
 * A block of a DmaPool (what dma_pool_alloc returns). Everything but `pool` and `size` throws DmaError EINVAL once
 * the block was freed. The object itself is recycled: one kept beyond `free` comes alive again when the pool hands
 * the block to its next user, so drop it there.
 */
export interface DmaPoolBlock {
  readonly pool: DmaPool;
  /** Bytes, the pool's rounded size. */
  readonly size: number;
  /** The memory. Its `buffer` is shared with the neighbours: use `bytes.byteOffset` when you make other views. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Address of the first byte for the device. */
  readonly dmaAddress: bigint;
  /** Bits 0 to 31 of the address. */
  readonly low: number;
  /** Bits 32 to 63 of the address. */
  readonly high: number;
  /** A 32-bit word the device may be writing, read once and whole. @throws DmaError EINVAL misaligned or outside */
  load32(offset: number): number;
  /** A 64-bit word the device may be writing, read once and whole. @throws DmaError EINVAL misaligned or outside */
  load64(offset: number): bigint;
  /** The same as `pool.free(block)`. @throws DmaError EINVAL freed before · ENODEV the pool is destroyed */
  free(): void;
  /** Frees what is still out; harmless after `free`. */
  [Symbol.dispose](): void;
}

/** One allocation of a pool: whole units, naturally aligned unless it is of declared memory. */
export class PoolChunk {
  readonly region: OwnRegion;
  readonly low: number;
  readonly high: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Uint32Array<ArrayBuffer>;
  readonly doubles: Float64Array<ArrayBuffer>;
  /** Called before each look at a word that the device may write; only simulated memory has it. */
  readonly look: (() => void) | undefined;
  /** Offset of the first unit that is not carved yet. */
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

/** Up to here a loop of 8-byte stores beats the 20-50 ns that `fill` takes to start. */
const LONGEST_LOOP = 256;

// Not exported: V8 folds a module's own constants, and loads imported ones.
const OUT = -2;
const REVOKED = -3;

/**
 * A block as its pool sees it. Its fields are declared, not defined: a definition would store undefined first, and
 * V8 would from then on check every number it loads from them (1.2 to 2 ns a pair).
 */
export class PoolBlock implements DmaPoolBlock {
  declare readonly pool: DmaPool;
  declare readonly chunk: PoolChunk;
  /** Offset in the chunk. */
  declare readonly at: number;
  /** Among all blocks of the pool; the pool's mark for none once it hands out no more. */
  declare index: number;
  /** Index of the next free block, the pool's mark for none, or OUT or REVOKED; all but the first negative. */
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

  /** A driver holds it. */
  get out(): boolean {
    return this.link === OUT;
  }

  /** From the top of the free list to the driver. @returns the link to what is on top now */
  take(): number {
    const next = this.link;
    this.link = OUT;
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
    if (this.link !== OUT) throw usedAfterFree(this);
    this.view ??= viewOf(this);
    return this.view;
  }

  get dmaAddress(): bigint {
    if (this.link !== OUT) throw usedAfterFree(this);
    this.address ??= BigInt(addressOf(this));
    return this.address;
  }

  get low(): number {
    if (this.link !== OUT) throw usedAfterFree(this);
    return (this.chunk.low + this.at) >>> 0;
  }

  get high(): number {
    if (this.link !== OUT) throw usedAfterFree(this);
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
    if (this.link === OUT) this.pool.free(this);
  }

  /** Every byte 0, whatever the state of the block. */
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

  /** Every byte `value`, whatever the state of the block. Does nothing once the program has transferred its memory. */
  fill(value: number): void {
    if (typeof value !== 'number') throw argumentError('the byte to fill with', value, 'pass a number');
    const { chunk, at } = this;
    if (chunk.bytes.length > 0) chunk.bytes.fill(value, at, at + this.pool.size);
  }

  /** Index of the word in an array over the whole chunk; both the offset and the address must be aligned. */
  #wordAt(offset: number, width: number): number {
    if (this.link !== OUT) throw usedAfterFree(this);
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

/** Address for the device, whatever the state of the block. */
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

/** For messages: `0x1000`. */
export function hexAddress(block: PoolBlock): string {
  return `0x${addressOf(block).toString(16)}`;
}

function usedAfterFree(block: PoolBlock): DmaError {
  const end = block.pool.closed ? 'its pool was destroyed' : 'it was freed';
  const what = `block ${hexAddress(block)} of pool '${block.pool.name}' used after ${end}`;
  const remedy = 'keep it until the device is done with it, and free it once';
  return block.pool.refuse('used-after-release', block, new DmaError('EINVAL', what, { remedy }));
}
