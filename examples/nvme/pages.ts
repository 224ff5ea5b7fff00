/**
 * Pages of PRP entries or SGL descriptors, one page of the controller each, from a DmaPool. Their views are made
 * once: a free page is reused, the last one first.
 */
import {
  type ArrayOf,
  type DmaDevice,
  DmaError,
  type DmaPool,
  type DmaPoolBlock,
  struct,
  u32,
  u64,
} from '../../lib/index.ts';

const PrpEntry = struct(8, { address: u64(0) });
const SglDescriptor = struct(16, {
  address: u64(0),
  length: u32(8),
  /** The type is in bits 31:28. */
  type: u32(12),
});

export interface ListPage {
  /** Bits 0 to 31 and 32 to 63 of its address for the device. */
  readonly low: number;
  readonly high: number;
  readonly prps: ArrayOf<typeof PrpEntry>;
  readonly descriptors: ArrayOf<typeof SglDescriptor>;
}

export class ListPages {
  readonly size: number;
  readonly #pool: DmaPool;
  readonly #blocks: DmaPoolBlock[] = [];
  readonly #free: ListPage[] = [];

  /** @param size the page size of the controller in bytes */
  constructor(dma: DmaDevice, size: number) {
    this.size = size;
    this.#pool = dma.createPool('nvme lists', { size, align: size });
  }

  /** Its contents are those that its last user left. @throws DmaError ENOMEM */
  take(): ListPage {
    const page = this.#free.pop();
    if (page !== undefined) return page;
    const block = this.#pool.alloc();
    if (block === null) {
      throw new DmaError('ENOMEM', 'no memory for a page of PRP entries', {
        remedy: 'have fewer commands under way',
      });
    }
    this.#blocks.push(block);
    const { low, high, bytes } = block;
    return { low, high, prps: PrpEntry.over(bytes), descriptors: SglDescriptor.over(bytes) };
  }

  give(pages: ListPage[]): void {
    for (let page = pages.pop(); page !== undefined; page = pages.pop()) this.#free.push(page);
  }

  /** All pages are free. Calling it twice, or after the device was closed, is harmless. */
  close(): void {
    if (this.#pool.closed) return;
    for (const block of this.#blocks.splice(0)) block.free();
    this.#pool.destroy();
  }
}
