/** The part of a sequence that makes pools, and takes and frees their blocks. */

import type { Random } from '../random.ts';
import type { Request } from './protocol.ts';

const POOLS = 6;
const BLOCKS = 512;

export class PoolSequence {
  readonly #random: Random;
  readonly #ask: (request: Request) => void;
  /** The blocks that are taken, by pool. */
  readonly #pools = new Map<number, Set<number>>();

  constructor(random: Random, ask: (request: Request) => void) {
    this.#random = random;
    this.#ask = ask;
  }

  end(): void {
    for (const slot of [...this.#pools.keys()]) this.#destroyPool(slot);
  }

  act(): void {
    const random = this.#random;
    const slot = random.below(POOLS);
    const blocks = this.#pools.get(slot);
    if (blocks === undefined) this.#createPool(slot);
    else if (random.chance(0.06)) this.#destroyPool(slot);
    else {
      // Some blocks at a time, as drivers do, so that pools grow over several pages.
      const allocates = random.chance(blocks.size < 30 ? 0.8 : 0.4);
      for (let i = random.between(1, 6); i > 0; i--) {
        if (allocates) this.#allocBlock(slot, blocks);
        else this.#freeBlock(slot, blocks);
      }
    }
  }

  #createPool(slot: number): void {
    const random = this.#random;
    const size = random.between(1, random.pick([64, 300, 2000, 10_000]));
    // Most are such as the kernel takes: a power of two, and a boundary that holds a block.
    const align = random.chance(0.03) ? random.between(0, 300) : 2 ** random.between(0, 9);
    const least = Math.ceil(Math.log2(size + align));
    const fits = random.chance(0.3) ? 0 : 2 ** (least + random.below(4));
    const boundary = random.chance(0.03) ? random.below(9000) : fits;
    this.#ask({ op: 'poolCreate', slot, size, offset: align, value: BigInt(boundary) });
    this.#pools.set(slot, new Set());
  }

  #destroyPool(slot: number): void {
    this.#ask({ op: 'poolDestroy', slot });
    this.#pools.delete(slot);
  }

  #allocBlock(slot: number, blocks: Set<number>): void {
    const random = this.#random;
    const share = Math.floor(BLOCKS / POOLS);
    const first = slot * share;
    const block = first + random.below(share);
    if (blocks.has(block)) return;
    this.#ask({ op: 'poolAlloc', slot, buffer: block, arg: random.below(2) });
    blocks.add(block);
  }

  #freeBlock(slot: number, blocks: Set<number>): void {
    if (blocks.size === 0) return;
    const block = this.#random.pick([...blocks]);
    this.#ask({ op: 'poolFree', slot, buffer: block });
    blocks.delete(block);
  }
}
