/**
 * The free blocks that a pool allocates and frees many at once. `DmaPool.alloc` takes from a list whose links run
 * through the blocks (block.ts), which is fastest for one block. A batch would wait at each block for the link to the
 * next. So a batch has a stack of indices, and reads them side by side, as the cache of an rte_mempool.
 *
 *      alloc, free  <-> list  -- restocked when too few are here -->  stack <->  allocMany, freeMany
 *                        <------ when the list is empty ------------              allocIndices, freeIndices
 *
 * A batch is all or nothing: if one block cannot be freed, none is. The loops take four blocks a turn, because V8 does not
 * unroll loops, and a turn costs as much as half a block.
 */
import type { PoolBlock } from './block.ts';

/** Memory for the indices of blocks. */
export type BlockIndices = number[] | Int32Array | Uint32Array;

/** The link of a block in the stack. It is no mark of an allocated block. */
const STACKED = -1;

/** A stack of free blocks of one pool. */
export class BlockStack {
  /** The number of blocks in the stack. */
  count = 0;
  /**
   * The first `count` elements are the free blocks. The one that was freed last is the last. It is as long as there
   * are blocks, because V8 writes beyond the end of an array more slowly, and remembers that it had to.
   */
  readonly #indices: number[] = [];
  /** All blocks of the pool, by index. */
  readonly #blocks: readonly PoolBlock[];

  constructor(blocks: readonly PoolBlock[]) {
    this.#blocks = blocks;
  }

  /** The pool has so many blocks. */
  resize(blocks: number): void {
    while (this.#indices.length < blocks) this.#indices.push(0);
  }

  /** Add a free block. */
  push(block: PoolBlock): void {
    block.link = STACKED;
    this.#indices[this.count++] = block.index;
  }

  /** Remove the block that was added last. There must be one. */
  pop(): PoolBlock {
    return this.#blocks[this.#indices[--this.count]!]!;
  }

  /** Allocate `count` blocks. There must be as many. @param mark the link of an allocated block */
  take(into: PoolBlock[], count: number, mark: number): void {
    const blocks = this.#blocks;
    const indices = this.#indices;
    let left = this.count;
    let i = 0;
    for (; i + 4 <= count; i += 4, left -= 4) {
      const first = blocks[indices[left - 1]!]!;
      const second = blocks[indices[left - 2]!]!;
      const third = blocks[indices[left - 3]!]!;
      const fourth = blocks[indices[left - 4]!]!;
      first.link = second.link = third.link = fourth.link = mark;
      into[i] = first;
      into[i + 1] = second;
      into[i + 2] = third;
      into[i + 3] = fourth;
    }
    for (; i < count; i++) {
      const block = blocks[indices[--left]!]!;
      block.link = mark;
      into[i] = block;
    }
    this.count = left;
  }

  /** As `take`, by index. */
  takeIndices(into: BlockIndices, count: number, mark: number): void {
    const blocks = this.#blocks;
    const indices = this.#indices;
    let left = this.count;
    let i = 0;
    for (; i + 4 <= count; i += 4, left -= 4) {
      const first = indices[left - 1]!;
      const second = indices[left - 2]!;
      const third = indices[left - 3]!;
      const fourth = indices[left - 4]!;
      blocks[first]!.link = blocks[second]!.link = blocks[third]!.link = blocks[fourth]!.link = mark;
      into[i] = first;
      into[i + 1] = second;
      into[i + 2] = third;
      into[i + 3] = fourth;
    }
    for (; i < count; i++) {
      const index = indices[--left]!;
      blocks[index]!.link = mark;
      into[i] = index;
    }
    this.count = left;
  }

  /**
   * Free blocks.
   * @param from may hold any value
   * @param mark the link of an allocated block
   * @returns -1, or the place of the first value that is no allocated block of the pool; then nothing was freed
   */
  give(from: readonly PoolBlock[], count: number, mark: number): number {
    const indices = this.#indices;
    const held = this.count;
    let i = 0;
    try {
      for (; i + 4 <= count; i += 4) {
        const first = from[i]!;
        if (first.link !== mark) return this.#undo(i, mark);
        first.link = STACKED;
        indices[held + i] = first.index;
        const second = from[i + 1]!;
        if (second.link !== mark) return this.#undo(i + 1, mark);
        second.link = STACKED;
        indices[held + i + 1] = second.index;
        const third = from[i + 2]!;
        if (third.link !== mark) return this.#undo(i + 2, mark);
        third.link = STACKED;
        indices[held + i + 2] = third.index;
        const fourth = from[i + 3]!;
        if (fourth.link !== mark) return this.#undo(i + 3, mark);
        fourth.link = STACKED;
        indices[held + i + 3] = fourth.index;
      }
      for (; i < count; i++) {
        const block = from[i]!;
        if (block.link !== mark) return this.#undo(i, mark);
        block.link = STACKED;
        indices[held + i] = block.index;
      }
    } catch {
      // One of these four has no fields, for example undefined. Asking each value first would cost a fifth of the loop.
      return this.#undoUpTo(from, i, mark);
    }
    this.count = held + count;
    return -1;
  }

  /** As `give`, by index. */
  giveIndices(from: BlockIndices, count: number, mark: number): number {
    const blocks = this.#blocks;
    const total = blocks.length;
    const indices = this.#indices;
    const held = this.count;
    let i = 0;
    for (; i + 4 <= count; i += 4) {
      const first = from[i]!;
      const second = from[i + 1]!;
      const third = from[i + 2]!;
      const fourth = from[i + 3]!;
      if (!isIndex(first, total) || blocks[first]!.link !== mark) return this.#undo(i, mark);
      blocks[first]!.link = STACKED;
      indices[held + i] = first;
      if (!isIndex(second, total) || blocks[second]!.link !== mark) return this.#undo(i + 1, mark);
      blocks[second]!.link = STACKED;
      indices[held + i + 1] = second;
      if (!isIndex(third, total) || blocks[third]!.link !== mark) return this.#undo(i + 2, mark);
      blocks[third]!.link = STACKED;
      indices[held + i + 2] = third;
      if (!isIndex(fourth, total) || blocks[fourth]!.link !== mark) return this.#undo(i + 3, mark);
      blocks[fourth]!.link = STACKED;
      indices[held + i + 3] = fourth;
    }
    for (; i < count; i++) {
      const index = from[i]!;
      if (!isIndex(index, total) || blocks[index]!.link !== mark) return this.#undo(i, mark);
      blocks[index]!.link = STACKED;
      indices[held + i] = index;
    }
    this.count = held + count;
    return -1;
  }

  /** `take` of `count` blocks threw: they are free again. */
  putBack(count: number): void {
    for (let i = this.count - count; i < this.count; i++) this.#blocks[this.#indices[i]!]!.link = STACKED;
  }

  /** The first `done` blocks of a batch are allocated again. @returns `done` */
  #undo(done: number, mark: number): number {
    const end = this.count + done;
    for (let i = this.count; i < end; i++) this.#blocks[this.#indices[i]!]!.link = mark;
    return done;
  }

  /** As `#undo`, of the blocks before the first value from `at` on that was not freed. @returns its place */
  #undoUpTo(from: readonly unknown[], at: number, mark: number): number {
    this.#undo(at, mark);
    for (let place = at; ; place++) {
      const block = this.#blocks[this.#indices[this.count + place]!];
      if (block === undefined || block !== from[place]) return place;
      block.link = mark;
    }
  }
}

/** V8 compares integers here. With `>>>` it would compare floating-point numbers. */
function isIndex(index: number, total: number): boolean {
  return typeof index === 'number' && (index | 0) === index && index >= 0 && index < total;
}
