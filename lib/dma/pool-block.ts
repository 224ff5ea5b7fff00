/**
 * The blocks of a pool and the memory they lie in. A block object is made once, when its page is carved, and handed
 * out again and again; the list of free blocks runs through these objects, never through memory a device can write.
 *
 *      pool top -> block -> block -> END          link of a block that is out: OUT, of one that is gone: REVOKED
 */
import { DmaError } from '../errors.ts';
import type { Allocation } from './operations.ts';
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

/** One allocation of a pool: whole units, naturally aligned, so that it never crosses 4 GiB of addresses. */
export class PoolChunk {
  readonly allocation: Allocation;
  readonly low: number;
  readonly high: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Uint32Array<ArrayBuffer>;
  readonly doubles: Float64Array<ArrayBuffer>;
  /** In the order of their addresses. */
  readonly blocks: PoolBlock[] = [];
  /** Offset of the first unit that is not carved yet. */
  fresh = 0;

  constructor(allocation: Allocation) {
    const { address, buffer } = allocation;
    this.allocation = allocation;
    this.low = address >>> 0;
    this.high = Math.floor(address / 2 ** 32);
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer, 0, Math.floor(buffer.byteLength / 4));
    this.doubles = new Float64Array(buffer, 0, Math.floor(buffer.byteLength / 8));
  }
}

/** Up to here a loop of 8-byte stores beats the 20-50 ns that `fill` takes to start. */
const LONGEST_LOOP = 256;

/** A block as its pool sees it. One shape, and no field that would need a heap number. */
export class PoolBlock implements DmaPoolBlock {
  readonly pool: DmaPool;
  readonly chunk: PoolChunk;
  /** Offset in the chunk. */
  readonly at: number;
  link: PoolBlock | undefined = undefined;
  view: Uint8Array<ArrayBuffer> | undefined = undefined;
  address: bigint | undefined = undefined;

  constructor(pool: DmaPool, chunk: PoolChunk, at: number) {
    this.pool = pool;
    this.chunk = chunk;
    this.at = at;
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
    return this.chunk.high;
  }

  load32(offset: number): number {
    const index = this.#wordAt(offset, 4);
    return Atomics.load(this.chunk.words, index);
  }

  load64(offset: number): bigint {
    const index = this.#wordAt(offset, 8);
    return Atomics.load(new BigUint64Array(this.chunk.allocation.buffer, index * 8, 1), 0);
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
      chunk.bytes.fill(0, at, at + size);
      return;
    }
    const { doubles } = chunk;
    const end = (at + size) >> 3;
    for (let index = at >> 3; index < end; index++) doubles[index] = 0;
  }

  /** Index of the word in an array over the whole chunk; both the offset and the address must be aligned. */
  #wordAt(offset: number, width: number): number {
    if (this.link !== OUT) throw usedAfterFree(this);
    const from = this.at + offset;
    const inside = Number.isInteger(offset) && offset >= 0 && offset + width <= this.pool.size;
    if (inside && from % width === 0 && from + width <= this.chunk.bytes.length) return from / width;
    throw new DmaError(
      'EINVAL',
      `no ${width * 8}-bit word at offset ${String(offset)} of ${this.pool.size} bytes`,
      {
        remedy: `use an offset inside the block, and a pool aligned to ${width}`,
      },
    );
  }
}

function sentinel(): PoolBlock {
  const nothing: Allocation = { buffer: new ArrayBuffer(0), address: 0, span: 0 };
  return new PoolBlock(undefined as unknown as DmaPool, new PoolChunk(nothing), 0);
}

/** End of a list of free blocks. The marks are blocks themselves: comparing one shape with another costs more. */
export const END = sentinel();
/** Link of a block that a driver holds. */
export const OUT = sentinel();
/** Link of a block that nobody will be handed again. */
export const REVOKED = sentinel();

/** Address for the device, whatever the state of the block. */
export function addressOf({ chunk, at }: PoolBlock): number {
  return chunk.allocation.address + at;
}

function viewOf(block: PoolBlock): Uint8Array<ArrayBuffer> {
  const { chunk, at, pool } = block;
  if (chunk.bytes.length > 0) return chunk.bytes.subarray(at, at + pool.size);
  throw new DmaError(
    'EFAULT',
    `the memory of block ${hexAddress(block)} of pool '${pool.name}' was taken away`,
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
  return new DmaError('EINVAL', `block ${hexAddress(block)} of pool '${block.pool.name}' used after ${end}`, {
    remedy: 'keep it until the device is done with it, and free it once',
  });
}
