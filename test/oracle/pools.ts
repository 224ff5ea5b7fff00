/** The library's side of requests for pools (module/memory.c). */
import type { DmaDevice, DmaPool, DmaPoolBlock } from '../../lib/index.ts';
import { answer, type Request, type Response, refusal } from './protocol.ts';

const ENOMEM = -12;

export class PoolSide {
  readonly #dma: DmaDevice;
  readonly #pools = new Map<number, DmaPool>();
  readonly #blocks = new Map<number, DmaPoolBlock>();

  constructor(dma: DmaDevice) {
    this.#dma = dma;
  }

  /** Whether this block is allocated. */
  holdsBlock(block: number): boolean {
    return this.#blocks.has(block);
  }

  create({ slot = 0, size = 0, offset = 0, value = 0n }: Request): Response {
    this.#pools.set(slot, this.#dma.createPool('oracle', { size, align: offset, boundary: Number(value) }));
    return answer();
  }

  destroy({ slot = 0 }: Request): Response {
    const pool = this.#pools.get(slot)!;
    for (const [number, block] of this.#blocks) {
      if (block.pool !== pool) continue;
      block.free();
      this.#blocks.delete(number);
    }
    this.#pools.delete(slot);
    pool.destroy();
    return answer();
  }

  alloc({ slot = 0, buffer = 0, arg = 0 }: Request): Response {
    const pool = this.#pools.get(slot)!;
    const block = arg === 0 ? pool.alloc() : pool.zalloc();
    if (block === null) return refusal(ENOMEM);
    this.#blocks.set(buffer, block);
    const clear = block.bytes.every((byte) => byte === 0);
    block.bytes.fill(0x5a);
    return answer(block.dmaAddress, clear);
  }

  free({ buffer = 0 }: Request): Response {
    this.#blocks.get(buffer)!.free();
    this.#blocks.delete(buffer);
    return answer();
  }
}
