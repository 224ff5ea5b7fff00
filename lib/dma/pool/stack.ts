/**
 * The free blocks that a pool allocates and frees many at once. `DmaPool.alloc` takes from a list whose links run
 * through the blocks (block.ts), which is fastest for one block. A batch would wait at each block for the link to the
 * next. So a batch has a stack of indices, and reads them side by side, as the cache of an rte_mempool.
 *
 *      alloc, free  <-> list  -- restocked when too few are here -->  stack <->  allocMany, freeMany
 *                        <------ when the list is empty ------------              allocIndices, freeIndices
 *
 * A batch is all or nothing: if one block cannot be freed, none is. The array of a batch can run code of the program, if it
 * is a Proxy or has getters. So the stack is busy meanwhile, and the pool leaves a busy stack alone. The loops take four
 * blocks a turn, because V8 does not unroll loops, and a turn costs as much as half a block.
 */
import type { PoolBlock } from './block.ts';

/** Memory for the indices of blocks. */
export type BlockIndices = number[] | Int32Array | Uint32Array;

/** The link of a block in the stack. No other block has it. */
const STACKED = -3;

/** A stack of free blocks of one pool. */
export class BlockStack {
  /** The number of blocks in the stack. */
  count = 0;
  /** True while a batch reads or writes the array of the program. */
  busy = false;
  /**
   * The first `count` elements are the free blocks. The one that was freed last is the last. It is as long as there
   * are blocks, because V8 writes beyond the end of an array more slowly, and remembers that it had to.
   */
  readonly #indices: number[] = [];
  /** Where the indices of the last batch begin. They stay there until the next one. */
  #moved = 0;
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

  /**
   * Allocate `count` blocks. There must be as many. If the array throws, the stack stays busy until `untake`.
   * @param mark the link of an allocated block
   */
  take(into: PoolBlock[], count: number, mark: number): void {
    this.busy = true;
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
    this.count = this.#moved = left;
    this.busy = false;
  }

  /** As `take`, by index. */
  takeIndices(into: BlockIndices, count: number, mark: number): void {
    this.busy = true;
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
    this.count = this.#moved = left;
    this.busy = false;
  }

  /**
   * Free blocks.
   * @param from may hold any value
   * @param mark the link of an allocated block
   * @returns -1, or the place of the first value that is no allocated block of the pool; then nothing was freed
   */
  give(from: readonly PoolBlock[], count: number, mark: number): number {
    this.busy = true;
    const indices = this.#indices;
    const held = this.count;
    let done = 0;
    try {
      for (; done + 4 <= count; done++) {
        const first = from[done]!;
        if (first.link !== mark) return this.#undo(done, mark);
        first.link = STACKED;
        indices[held + done] = first.index;
        const second = from[++done]!;
        if (second.link !== mark) return this.#undo(done, mark);
        second.link = STACKED;
        indices[held + done] = second.index;
        const third = from[++done]!;
        if (third.link !== mark) return this.#undo(done, mark);
        third.link = STACKED;
        indices[held + done] = third.index;
        const fourth = from[++done]!;
        if (fourth.link !== mark) return this.#undo(done, mark);
        fourth.link = STACKED;
        indices[held + done] = fourth.index;
      }
      for (; done < count; done++) {
        const block = from[done]!;
        if (block.link !== mark) return this.#undo(done, mark);
        block.link = STACKED;
        indices[held + done] = block.index;
      }
    } catch {
      // The array threw, or has a value without fields, for example undefined. Asking each would cost a fifth of the loop.
      return this.#undo(done, mark);
    }
    this.#moved = held;
    this.count = held + count;
    this.busy = false;
    return -1;
  }

  /** As `give`, by index. */
  giveIndices(from: BlockIndices, count: number, mark: number): number {
    this.busy = true;
    const blocks = this.#blocks;
    const indices = this.#indices;
    const held = this.count;
    let done = 0;
    try {
      for (; done + 4 <= count; done++) {
        const first = from[done]!;
        if (typeof first !== 'number' || blocks[first]!.link !== mark) return this.#undo(done, mark);
        blocks[first]!.link = STACKED;
        indices[held + done] = blocks[first]!.index;
        const second = from[++done]!;
        if (typeof second !== 'number' || blocks[second]!.link !== mark) return this.#undo(done, mark);
        blocks[second]!.link = STACKED;
        indices[held + done] = blocks[second]!.index;
        const third = from[++done]!;
        if (typeof third !== 'number' || blocks[third]!.link !== mark) return this.#undo(done, mark);
        blocks[third]!.link = STACKED;
        indices[held + done] = blocks[third]!.index;
        const fourth = from[++done]!;
        if (typeof fourth !== 'number' || blocks[fourth]!.link !== mark) return this.#undo(done, mark);
        blocks[fourth]!.link = STACKED;
        indices[held + done] = blocks[fourth]!.index;
      }
      for (; done < count; done++) {
        const index = from[done]!;
        if (typeof index !== 'number' || blocks[index]!.link !== mark) return this.#undo(done, mark);
        blocks[index]!.link = STACKED;
        indices[held + done] = blocks[index]!.index;
      }
    } catch {
      // As in `give`; or a number is no index, so that it has no block.
      return this.#undo(done, mark);
    }
    this.#moved = held;
    this.count = held + count;
    this.busy = false;
    return -1;
  }

  /** `take` threw: the blocks that it had allocated are free again. */
  untake(): void {
    for (let i = this.count - 1; i >= 0; i--) {
      const block = this.#blocks[this.#indices[i]!]!;
      if (block.link === STACKED) break;
      block.link = STACKED;
    }
    this.busy = false;
  }

  /** The blocks of the batch that has just ended, in its order if it freed them, or the last one first. */
  moved(count: number): PoolBlock[] {
    const indices = this.#indices.slice(this.#moved, this.#moved + count);
    return indices.map((index) => this.#blocks[index]!);
  }

  /** The pool has ended during a batch, which has marked blocks since. */
  revoke(): void {
    for (const block of this.#blocks) block.revoke();
  }

  /** The first `done` blocks of a batch are allocated again. @returns `done` */
  #undo(done: number, mark: number): number {
    const end = this.count + done;
    for (let i = this.count; i < end; i++) this.#blocks[this.#indices[i]!]!.link = mark;
    this.busy = false;
    return done;
  }
}
