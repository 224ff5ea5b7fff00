/**
 * Pools of small blocks of coherent memory (mm/dmapool.c).
 *
 *      chunk    one allocation, mapped once: 1, 2, 4 ... units, up to 2 MiB
 *        unit   one page, or one block when that is larger; carved when the blocks before it are all allocated
 *          block  block  block  (gap before a boundary)  block ...
 *
 * Invariants: Every block is allocated, free, or revoked (block.ts). The pool frees no memory before `destroy`.
 * Nothing that the device can write decides what the pool does next.
 */
import { argumentError, describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import type { OwnRegion } from '../operations/own-memory.ts';
import type { Misuse } from '../words/misuse.ts';
import { type DmaPoolBlock, hexAddress, NO_MARK, newMark, PoolBlock, PoolChunk } from './block.ts';
import { type PoolLayout, type PoolOptions, poolLayout } from './layout.ts';
import { type BlockIndices, BlockStack } from './stack.ts';

/** The device of a pool, as far as the pool needs it. */
export interface PoolOwner {
  /** The smallest piece of memory that can be given to the device by itself, bytes, a power of two. */
  readonly granule: number;
  /** The highest address that coherent memory may have now. The pool reads it each time it grows. */
  coherentLimit(): number;
  /** Allocate zeroed, naturally aligned memory, all or nothing, as `DmaOperations.allocate`. @throws DmaError */
  allocate(size: number, limit: number): OwnRegion;
  /** Unmap and recycle the memory. */
  release(region: OwnRegion): void;
  /** The pool has been destroyed. */
  forgetPool(pool: DmaPool): void;
}

/** The line of a pool in /sys/devices/.../pools, and the bytes that the pool has mapped. */
export interface PoolStats {
  readonly name: string;
  /** The number of allocated blocks. */
  readonly active: number;
  /** The number of blocks carved so far, allocated or free. */
  readonly total: number;
  /** Bytes of a block, rounded up to the alignment. */
  readonly size: number;
  /** The number of units carved so far. A unit is a page, or one block larger than a page. */
  readonly pages: number;
  /** Bytes mapped for the device, carved or not. */
  readonly mapped: number;
}

/** How a pool ended. */
type PoolEnd = 'destroyed' | 'closed with its device' | 'released with its declared memory';

/** This stands for no block, in place of an index. */
const END = -1;
/**
 * A chunk is no larger than this. A million blocks then need few mappings, and a hundred blocks waste little memory.
 */
const LARGEST_CHUNK = 2 ** 21;
/**
 * The most blocks that a pool makes at once. Each is an object in V8's heap, and the process ends when the heap is
 * full.
 */
const MOST_BLOCKS = 2 ** 24;
/** The kernel cuts the name like this: its string has 32 bytes with the terminator. */
const LONGEST_NAME = 31;
/** The number of blocks that `alloc` takes from the stack of batches when its own list is empty. */
const LOT = 64;
/** The number of blocks that the message of a busy `destroy` names. */
const NAMED = 4;

/** A pool of small blocks of coherent memory (struct dma_pool). `DmaDevice.createPool` makes one. */
export class DmaPool {
  readonly name: string;
  /** Bytes of each block: the requested size, rounded up to the alignment. */
  readonly size: number;
  /** True if the pool is meant to be released with the device. */
  readonly managed: boolean;

  readonly #owner: PoolOwner;
  readonly #layout: PoolLayout;
  readonly #grows: boolean;
  readonly #largest: number;
  /** The index of the first free block, or END. */
  #top = END;
  #active = 0;
  #pages = 0;
  #chunks: PoolChunk[] = [];
  /** All blocks, in the order in which they were carved. */
  #blocks: PoolBlock[] = [];
  /** The free blocks for batches. */
  #stack = new BlockStack(this.#blocks);
  /** The link of an allocated block. */
  readonly #mark = newMark();
  /**
   * The same for `free`, which must not match it once the pool allocates no more, nor while a batch allocates: its blocks
   * are not counted yet.
   */
  #freeMark = this.#mark;
  /** The number of units that the pool asks for next. */
  #next = 1;
  #end: PoolEnd | undefined;
  /** The reason why the pool allocates no more blocks. Live blocks can still be freed. */
  #left: DmaError | undefined;

  /**
   * Drivers use `DmaDevice.createPool`.
   * @throws DmaError EINVAL options · ENOMEM, ENOSPC no memory for `options.blocks`
   * @internal
   */
  constructor(name: string, options: PoolOptions, owner: PoolOwner) {
    const { blocks = 0, grow = true, managed = false } = options;
    checkName(name);
    const layout = poolLayout(options, owner.granule);
    checkBlocks(blocks, grow);
    this.name = name.slice(0, LONGEST_NAME);
    this.size = layout.size;
    this.managed = managed;
    this.#owner = owner;
    this.#layout = layout;
    this.#grows = grow;
    // Units can follow each other without a gap, and all be naturally aligned, only if their size is a power of two.
    this.#largest = layout.unit === layout.stride ? Math.max(1, LARGEST_CHUNK / layout.unit) : 1;
    this.#fill(blocks);
  }

  /** True once the pool was destroyed, or its device closed. */
  get closed(): boolean {
    return this.#end !== undefined;
  }

  /**
   * Allocate the block that was freed last (dma_pool_alloc). The block holds the bytes that its last user left there.
   * When no block is free, the pool grows, under the coherent mask of that moment. When the mask becomes narrower,
   * the pool goes on using the blocks that it has.
   * @returns null when there is no memory, no address or no mapping left, or the pool does not grow
   * @throws DmaError ENODEV the pool is destroyed, or the device is gone · EFAULT in a poisoned pool: the block was
   *   written while it was free, or its memory was taken away · EINVAL declared memory where `align` or `boundary`
   *   cannot be kept
   */
  alloc(): DmaPoolBlock | null {
    if (this.#top === END && !this.#refill()) return null;
    const block = this.#blocks[this.#top]!;
    this.#top = block.take(this.#mark);
    this.#active++;
    return block;
  }

  /** Allocate a block with every byte 0 (dma_pool_zalloc). Otherwise it is as `alloc`. */
  zalloc(): DmaPoolBlock | null {
    const block = this.alloc() as PoolBlock | null;
    if (block !== null) block.zero();
    return block;
  }

  /**
   * Free a block (dma_pool_free).
   * @throws DmaError EINVAL not a block of this pool, or freed before · EBUSY the array of an allocating batch calls this ·
   *   ENODEV the pool is destroyed
   */
  free(block: DmaPoolBlock): void {
    const ours = block as PoolBlock;
    if (ours?.link !== this.#freeMark) {
      this.#freeAbandoned(block);
      return;
    }
    ours.link = this.#top;
    this.#top = ours.index;
    this.#active--;
  }

  /**
   * Allocate many blocks at once, all or none (rte_mempool_get_bulk). A block costs less than by `alloc`. `alloc` and
   * batches have free blocks of their own, and each takes the other's when it has none.
   * @param into an array, used over and over: its first `count` elements become the blocks
   * @param count at most the length of the array, which is the default
   * @returns false, and nothing is allocated, where `alloc` would return null
   * @throws DmaError EINVAL array or count · EBUSY the array of another batch calls this (a Proxy, or one with getters) ·
   *   and as `alloc`; then nothing is allocated
   */
  allocMany(into: (DmaPoolBlock | undefined)[], count: number = into?.length): boolean {
    checkBatch(into, Array.isArray(into), count);
    const stack = this.#stack;
    if (stack.busy) throw this.#inBatch();
    if (count > stack.count && !this.#restock(count)) return false;
    this.#freeMark = NO_MARK;
    try {
      stack.take(into as PoolBlock[], count, this.#mark);
    } catch {
      throw this.#unwritable(into, stack);
    }
    this.#changed(stack, count);
    return true;
  }

  /**
   * Free many blocks at once, all or none (rte_mempool_put_bulk).
   * @param blocks an array whose first `count` elements are the blocks
   * @throws DmaError EINVAL array or count, or one of the blocks is not a block of this pool, was freed before, or
   *   stands there twice; then none is freed · EBUSY as `allocMany` · ENODEV the pool is destroyed
   */
  freeMany(blocks: readonly (DmaPoolBlock | undefined)[], count: number = blocks?.length): void {
    checkBatch(blocks, Array.isArray(blocks), count);
    const stack = this.#stack;
    if (stack.busy) throw this.#inBatch();
    const bad = stack.give(blocks as readonly PoolBlock[], count, this.#mark);
    this.#changed(stack, bad < 0 ? -count : 0);
    if (bad < 0) return;
    const block = blocks[bad] as PoolBlock;
    throw this.refuse('released-twice', block, this.#refusal(block));
  }

  /**
   * As `allocMany`, for a driver that keeps numbers instead of objects: the first `count` elements of `into` become
   * the indices of the blocks. A block keeps its index, so that a driver can have tables of what it needs of the
   * blocks, for example addresses (`block(index).low`).
   * @throws DmaError as `allocMany`
   */
  allocIndices(into: BlockIndices, count: number = into?.length): boolean {
    checkBatch(into, areIndices(into), count);
    const stack = this.#stack;
    if (stack.busy) throw this.#inBatch();
    if (count > stack.count && !this.#restock(count)) return false;
    this.#freeMark = NO_MARK;
    try {
      stack.takeIndices(into, count, this.#mark);
    } catch {
      throw this.#unwritable(into, stack);
    }
    this.#changed(stack, count);
    return true;
  }

  /** As `freeMany`, by index. @throws DmaError as `freeMany` */
  freeIndices(indices: BlockIndices, count: number = indices?.length): void {
    checkBatch(indices, areIndices(indices), count);
    const stack = this.#stack;
    if (stack.busy) throw this.#inBatch();
    const bad = stack.giveIndices(indices, count, this.#mark);
    this.#changed(stack, bad < 0 ? -count : 0);
    if (bad < 0) return;
    const block = this.block(indices[bad]!) as PoolBlock;
    throw this.refuse('released-twice', block, this.#refusal(block));
  }

  /**
   * The block with an index, allocated or not.
   * @throws DmaError EINVAL the pool has no such block · ENODEV the pool is destroyed
   */
  block(index: number): DmaPoolBlock {
    const block = Number.isInteger(index) ? this.#blocks[index] : undefined;
    if (block !== undefined) return block;
    if (this.#end !== undefined) throw this.#gone();
    throw new DmaError('EINVAL', `pool '${this.name}' has no block ${describe(index)}`, {
      remedy: `pass the index of one of its ${this.#blocks.length} blocks`,
    });
  }

  /** The counts of the pool, as in the kernel's file `pools` of a device. */
  stats(): PoolStats {
    const { name, size } = this;
    const mapped = this.#chunks.reduce((sum, chunk) => sum + chunk.region.span, 0);
    return { name, active: this.#active, total: this.#blocks.length, size, pages: this.#pages, mapped };
  }

  /**
   * Unmap and recycle the memory. Afterwards every view of a block has length 0 (dma_pool_destroy).
   *
   * If blocks are still allocated, the device may still use them. So all memory stays mapped until the device is
   * closed, as the kernel leaks it on purpose. The pool ends in both cases.
   * @throws DmaError EBUSY blocks are still allocated; the message says how many and where; or the array of a batch calls
   *   this, and then the pool does not end · ENODEV destroyed before
   */
  destroy(): void {
    if (this.#end !== undefined) throw this.#gone();
    if (this.#stack.busy) throw this.#inBatch();
    const busy = this.#active === 0 ? undefined : this.#busy();
    const chunks = this.#chunks;
    this.#revoke('destroyed');
    this.#owner.forgetPool(this);
    if (busy !== undefined) throw busy;
    for (const { region } of chunks) this.#owner.release(region);
  }

  /** Destroy the pool. This is harmless if it was destroyed before. @throws DmaError EBUSY */
  [Symbol.dispose](): void {
    if (this.#end === undefined) this.destroy();
  }

  /** True if memory of the pool was taken from the device. @internal */
  get orphaned(): boolean {
    return this.#chunks.some(({ region }) => region.owner === undefined);
  }

  /**
   * End the pool without `destroy`. If the device is closing, its operations release the memory themselves. If the
   * device released its declared memory, the pool also releases its ordinary memory, unless blocks are still
   * allocated: see `destroy`.
   * @internal
   */
  revoke(): void {
    if (!this.orphaned) {
      this.#revoke('closed with its device');
      return;
    }
    const rest = this.#active > 0 ? [] : this.#chunks.filter(({ region }) => region.owner !== undefined);
    this.#revoke('released with its declared memory');
    for (const { region } of rest) this.#owner.release(region);
  }

  /** The device is gone: the pool allocates no block from here on. @internal */
  abandon(error: DmaError): void {
    this.#left = error;
    this.#top = END;
    // A batch that is under way does so at its end.
    if (!this.#stack.busy) this.#stack.count = 0;
    // `free` finds no allocated block any more, so that it adds none to the list, without a check of its own.
    this.#freeMark = NO_MARK;
  }

  /**
   * Return the error to throw: `error`. dma-debug overrides this. `block` may be any value that was passed to `free`.
   * @internal
   */
  refuse(_misuse: Misuse, _block: PoolBlock, error: DmaError): DmaError {
    return error;
  }

  /** All blocks, in the order in which they were carved. @internal */
  protected get blocks(): readonly PoolBlock[] {
    return this.#blocks;
  }

  /** The pool calls this for each unit before it first allocates the blocks of the unit. @internal */
  protected prepare(_unit: Uint8Array): void {}

  /**
   * The blocks of the batch that has just ended. The array of the program may tell another thing when it is read again.
   * @internal
   */
  protected moved(count: number): PoolBlock[] {
    return this.#stack.moved(count);
  }

  /** Take an allocated block out of the pool for ever. @internal */
  protected discard(block: PoolBlock): void {
    block.revoke();
    this.#active--;
  }

  #revoke(end: PoolEnd): void {
    this.#end = end;
    this.#top = END;
    for (const block of this.#blocks) block.revoke();
    this.#blocks = [];
    this.#stack = new BlockStack(this.#blocks);
    this.#chunks = [];
    this.#active = this.#pages = 0;
  }

  #fill(blocks: number): void {
    try {
      while (this.#blocks.length < blocks) this.#grow();
    } catch (error) {
      for (const { region } of this.#chunks) this.#owner.release(region);
      throw error;
    }
  }

  /** Free a block after `abandon`. @throws DmaError the block cannot be freed, or not now */
  #freeAbandoned(block: DmaPoolBlock): void {
    if (this.#stack.busy) throw this.#inBatch();
    const ours = block as PoolBlock;
    if (this.#left === undefined || ours?.link !== this.#mark) {
      throw this.refuse('released-twice', ours, this.#refusal(block));
    }
    ours.link = END;
    this.#active--;
  }

  /** The array of a batch, for example a frozen one, threw when a block was written to it. */
  #unwritable(into: unknown, stack: BlockStack): DmaError {
    stack.untake();
    this.#changed(stack, 0);
    return argumentError('the batch', into, 'pass an array that can be written');
  }

  /**
   * A batch allocated so many blocks, or freed them if `change` is negative. Its array may have run code of the program.
   * @throws DmaError ENODEV the pool has ended meanwhile
   */
  #changed(stack: BlockStack, change: number): void {
    if (stack !== this.#stack) {
      stack.revoke();
      throw this.#gone();
    }
    this.#active += change;
    if (this.#left === undefined) this.#freeMark = this.#mark;
    else stack.count = 0;
  }

  #inBatch(): DmaError {
    return new DmaError('EBUSY', `pool '${this.name}' is in the middle of a batch`, {
      remedy: 'do not use the pool in a getter or a Proxy of the array of a batch',
    });
  }

  /** Put blocks into the empty list of `alloc`. False if there is still no free block. */
  #refill(): boolean {
    const stack = this.#stack;
    if (stack.count === 0 || stack.busy) return this.#growIfPossible();
    for (let moved = Math.min(stack.count, LOT); moved > 0; moved--) {
      const block = stack.pop();
      block.link = this.#top;
      this.#top = block.index;
    }
    return true;
  }

  /** Put blocks into the stack until it has `count`. False if there are not as many. */
  #restock(count: number): boolean {
    const stack = this.#stack;
    const free: PoolBlock[] = [];
    try {
      while (stack.count + free.length < count) {
        if (this.#top === END && !this.#growIfPossible()) return false;
        free.push(this.#pop());
      }
      return true;
    } finally {
      // The top of the list becomes the top of the stack.
      for (const block of free.reverse()) stack.push(block);
    }
  }

  #pop(): PoolBlock {
    const block = this.#blocks[this.#top]!;
    this.#top = block.link;
    return block;
  }

  /** Grow the pool. False if that is not possible now. */
  #growIfPossible(): boolean {
    if (this.#end !== undefined) throw this.#gone();
    if (this.#left !== undefined) throw this.#left;
    if (!this.#grows) return false;
    try {
      this.#grow();
      return true;
    } catch (error) {
      if (isExhaustion(error)) return false;
      throw error;
    }
  }

  #grow(): void {
    const limit = this.#owner.coherentLimit();
    const last = this.#chunks.at(-1);
    if (last !== undefined && hasRoom(last, limit)) this.#carve(last);
    else this.#carve(this.#addChunk(limit));
  }

  /** Add a chunk of as many units as all chunks before, or of as many as there is memory for. */
  #addChunk(limit: number): PoolChunk {
    for (;;) {
      try {
        const chunk = new PoolChunk(this.#allocate(limit));
        this.#chunks.push(chunk);
        this.#next = Math.min(this.#next * 2, this.#largest);
        return chunk;
      } catch (error) {
        if (this.#next === 1 || !isExhaustion(error)) throw error;
        this.#next /= 2;
      }
    }
  }

  /** Only declared memory can lie at an address that breaks the pool's rules. */
  #allocate(limit: number): OwnRegion {
    const { unit, alignment } = this.#layout;
    const region = this.#owner.allocate(this.#next * unit, limit);
    if (region.address % alignment === 0) return region;
    this.#owner.release(region);
    const where = `declared memory at 0x${region.address.toString(16)}`;
    throw new DmaError('EINVAL', `pool '${this.name}' in ${where}, no multiple of ${alignment}`, {
      remedy: 'declare memory at an address with the alignment and boundary of its pools',
    });
  }

  /** Make the next unit of the chunk into free blocks, with the lowest on top. */
  #carve(chunk: PoolChunk): void {
    const { size, boundary, unit } = this.#layout;
    const blocks = this.#blocks;
    const first = blocks.length;
    const from = chunk.fresh;
    chunk.fresh += unit;
    this.prepare(chunk.bytes.subarray(from, chunk.fresh));
    for (let base = from; base < chunk.fresh; base += boundary) {
      for (let at = base; at + size <= base + boundary; at += size) {
        blocks.push(new PoolBlock(this, chunk, at, blocks.length));
      }
    }
    for (let index = first; index < blocks.length - 1; index++) blocks[index]!.link = index + 1;
    blocks[blocks.length - 1]!.link = this.#top;
    this.#top = first;
    this.#stack.resize(blocks.length);
    this.#pages++;
  }

  #refusal(block: unknown): DmaError {
    const ours = block instanceof PoolBlock && block.pool === this;
    if (ours && this.#end !== undefined) return this.#gone();
    const remedy = 'free each block once, in the pool it came from';
    if (ours)
      return new DmaError('EINVAL', `pool '${this.name}': ${hexAddress(block)} is free already`, { remedy });
    const what =
      block instanceof PoolBlock ? `${hexAddress(block)} of pool '${block.pool.name}'` : String(typeof block);
    return new DmaError('EINVAL', `pool '${this.name}': ${what} is not one of its blocks`, { remedy });
  }

  #gone(): DmaError {
    return new DmaError('ENODEV', `pool '${this.name}' was ${this.#end}`, { remedy: 'create it again' });
  }

  #busy(): DmaError {
    const out = this.#blocks.filter((block) => block.held);
    const named = out.slice(0, NAMED).map(hexAddress).join(', ');
    const more = out.length > NAMED ? ', ...' : '';
    return new DmaError(
      'EBUSY',
      `pool '${this.name}' destroyed with ${this.#active} of ${this.#blocks.length} blocks still out (${named}${more})`,
      { remedy: 'free every block first; until the device is closed their memory stays mapped' },
    );
  }
}

function hasRoom({ fresh, bytes, region }: PoolChunk, limit: number): boolean {
  return fresh < bytes.length && (region.declared || region.address + region.span - 1 <= limit);
}

function isExhaustion(error: unknown): boolean {
  return error instanceof DmaError && (error.code === 'ENOMEM' || error.code === 'ENOSPC');
}

/** @param kind true if `batch` is an array of the right kind @throws DmaError EINVAL */
function checkBatch(batch: { readonly length: number }, kind: boolean, count: number): void {
  if (kind && typeof count === 'number' && count >>> 0 === count && count <= batch.length) return;
  if (!kind) throw argumentError('the batch', batch, 'pass an array for as many blocks');
  throw new DmaError('EINVAL', `${describe(count)} blocks in an array of ${batch.length}`, {
    remedy: 'pass a whole number up to the length of the array',
  });
}

function areIndices(batch: unknown): boolean {
  return Array.isArray(batch) || batch instanceof Int32Array || batch instanceof Uint32Array;
}

function checkName(name: string): void {
  if (typeof name === 'string' && name !== '') return;
  throw new DmaError('EINVAL', `the name of a pool is ${describe(name)}`, {
    remedy: 'pass a string for messages',
  });
}

function checkBlocks(blocks: number, grows: boolean): void {
  if (Number.isSafeInteger(blocks) && blocks >= (grows ? 0 : 1) && blocks <= MOST_BLOCKS) return;
  throw new DmaError('EINVAL', `a pool of ${describe(blocks)} blocks`, {
    remedy: grows
      ? `pass a whole number up to ${MOST_BLOCKS}`
      : 'say how many blocks a pool that does not grow shall have',
  });
}
