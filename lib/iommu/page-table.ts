/**
 * A two-level page table. Finding the mapping at an address takes constant time.
 *
 *      address   |  block number (a Map)  | page in block | offset in page |
 *                         |                      |
 *                  T: all 512 pages      leaf[512]: T or undefined
 *
 * A mapping that covers a whole block needs no leaf, like a large page of an IOMMU. So 1 GiB costs 512 entries.
 */
const PAGES_PER_BLOCK = 512;

interface Leaf<T> {
  readonly slots: (T | undefined)[];
  used: number;
}

interface Block<T> {
  whole: T | undefined;
  leaf: Leaf<T> | undefined;
}

/** Addresses and sizes are multiples of `pageSize`, except for `get`. The caller prevents overlaps. */
export class PageTable<T> {
  readonly #pageSize: number;
  readonly #blocks = new Map<number, Block<T>>();
  /**
   * The number of the one block whose leaf may be empty, -1 if there is none: a lone mapping that comes and goes
   * allocates nothing.
   */
  #empty = -1;

  constructor(pageSize: number) {
    this.#pageSize = pageSize;
  }

  /** The mapping of the page that holds `address`. */
  get(address: number): T | undefined {
    return this.page(Math.floor(address / this.#pageSize));
  }

  /** The mapping of page number `page`. */
  page(page: number): T | undefined {
    const number = Math.floor(page / PAGES_PER_BLOCK);
    const block = this.#blocks.get(number);
    // V8 calls a function for the remainder of numbers that may not fit 32 bits. This expression needs no call.
    return block === undefined
      ? undefined
      : (block.whole ?? block.leaf?.slots[page - number * PAGES_PER_BLOCK]);
  }

  set(address: number, size: number, value: T): void {
    const end = (address + size) / this.#pageSize;
    for (let page = address / this.#pageSize; page < end; ) {
      const number = Math.floor(page / PAGES_PER_BLOCK);
      const slot = page - number * PAGES_PER_BLOCK;
      const pages = Math.min(PAGES_PER_BLOCK - slot, end - page);
      page += pages;
      if (pages === PAGES_PER_BLOCK) {
        if (number === this.#empty) this.#empty = -1;
        this.#blocks.set(number, { whole: value, leaf: undefined });
        continue;
      }
      const leaf = this.#leaf(number);
      fill(leaf.slots, value, slot, slot + pages);
      leaf.used += pages;
    }
  }

  clear(address: number, size: number): void {
    const end = (address + size) / this.#pageSize;
    for (let page = address / this.#pageSize; page < end; ) {
      const number = Math.floor(page / PAGES_PER_BLOCK);
      const slot = page - number * PAGES_PER_BLOCK;
      const pages = Math.min(PAGES_PER_BLOCK - slot, end - page);
      page += pages;
      const leaf = this.#blocks.get(number)?.leaf;
      if (leaf === undefined) {
        this.#blocks.delete(number);
        continue;
      }
      fill(leaf.slots, undefined, slot, slot + pages);
      leaf.used -= pages;
      if (leaf.used > 0) continue;
      this.#takeEmpty();
      this.#empty = number;
    }
  }

  #leaf(number: number): Leaf<T> {
    const found = this.#blocks.get(number)?.leaf;
    if (found !== undefined) {
      if (number === this.#empty) this.#empty = -1;
      return found;
    }
    const leaf = this.#takeEmpty() ?? {
      slots: new Array<T | undefined>(PAGES_PER_BLOCK).fill(undefined),
      used: 0,
    };
    this.#blocks.set(number, { whole: undefined, leaf });
    return leaf;
  }

  /** Removes the block with the empty leaf. */
  #takeEmpty(): Leaf<T> | undefined {
    if (this.#empty < 0) return undefined;
    const leaf = this.#blocks.get(this.#empty)?.leaf;
    this.#blocks.delete(this.#empty);
    this.#empty = -1;
    return leaf;
  }
}

/** For one page the call of Array.fill costs more than the rest of a mapping. */
function fill<T>(slots: (T | undefined)[], value: T | undefined, from: number, end: number): void {
  if (end - from > 1) slots.fill(value, from, end);
  else slots[from] = value;
}
