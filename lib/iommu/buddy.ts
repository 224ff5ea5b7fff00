/**
 * A buddy allocator over one span of pages. Its free blocks are bits.
 *
 *      order 2   [ . . . . . . . 1 ]       one bit per block of 2^order pages, set when it is free as a whole;
 *      order 1   [ . . . . . 1 ....]       each order has summary words above it (bit set: the word below is not
 *      order 0   [ . . . . . . . . 1 ...]  zero), so the highest free block, below any ceiling, is a few loads away
 *
 * Invariants: no two bits of any orders cover the same page; two free halves are always merged; bit o of `orders`
 * tells if order o has a free block. So one test is enough to refuse a request, and the allocator never misses a
 * block that fits. `held` keeps the page count at the first page of every allocation: the caller can free only what
 * was allocated. Cost: a quarter byte per page of bits, and one byte of `held` per page from the end of the span down to
 * the lowest allocation that there ever was.
 */

/** Levels of words above the bits of the largest order: 32^4 blocks, 2^20 pages. */
const LEVELS = 4;
const STRIDE = LEVELS + 1;

/** Sizes up to this many pages take a whole power of two and may be cached (the kernel's rcache rule). */
const SMALL_PAGES = 32;
/** In `held`: more than SMALL_PAGES pages, the count follows in the next three bytes, seven bits each. */
const LARGE = SMALL_PAGES + 1;
/** The bytes of a new `held`. */
const FEW_HELD = 4096;
/** `held` is a table of 2^COLUMN_BITS columns. */
const COLUMN_BITS = 4;
const COLUMN = 2 ** COLUMN_BITS - 1;
/** Marks those bytes, so that a byte in the middle of an allocation never looks like the start of one. */
const DIGIT = 0x80;

/** A buddy allocator of numbers. */
export class Buddy {
  /** The last page of the span: pages are numbered from 0. */
  declare readonly last: number;
  /** Bit o is set when a free block of 2^o pages exists. */
  orders = 0;
  /** The pages at which usable ranges end inside the span, exclusive, ascending. */
  readonly ends: number[] = [];

  declare private readonly top: number;
  /** Word offset of [order][level], -1 after the last level. */
  declare private readonly at: Int32Array;
  /** Highest level of each order. */
  declare private readonly summit: Int32Array;
  declare private readonly bits: Int32Array;
  /**
   * By the number of pages up to the last one of the span, because the highest pages are allocated first. Column by
   * column: blocks are aligned, so most of them start in the same column, which is small enough for a cache.
   */
  declare private held: Uint8Array;
  declare private rows: number;

  /** A span of 2^top pages (top <= 20). None of them is usable at first: `open` makes pages usable. */
  constructor(top: number) {
    this.last = 2 ** top - 1;
    this.top = top;
    this.at = new Int32Array((top + 1) * STRIDE).fill(-1);
    this.summit = new Int32Array(top + 1);
    let words = 0;
    for (let order = 0; order <= top; order++) {
      let blocks = 2 ** (top - order);
      let level = 0;
      for (;;) {
        this.at[order * STRIDE + level] = words;
        blocks = Math.ceil(blocks / 32);
        words += blocks;
        if (blocks === 1) break;
        level++;
      }
      this.summit[order] = level;
    }
    this.bits = new Int32Array(words);
    this.held = new Uint8Array(Math.min(2 ** Math.max(top, COLUMN_BITS), FEW_HELD));
    this.rows = this.held.length >>> COLUMN_BITS;
  }

  /** Free the pages [first, end) for the first time. Ranges come in ascending order. */
  open(first: number, end: number): void {
    this.release(first, end);
    if (end <= this.last) this.ends.push(end);
  }

  /** True if every page of the span is free. */
  get empty(): boolean {
    return this.orders === 1 << this.top;
  }

  /**
   * Allocates 2^order free pages, aligned to their size, of which the first `pages` end at or below page `last`.
   * Returns the first page, or -1. It takes the highest block, not the best fitting one, because a narrow mask
   * reaches only low pages.
   */
  take(order: number, pages: number, last: number): number {
    const ceiling = last - pages + 1;
    if (ceiling < 0) return -1;
    let from = 0;
    let block = 0;
    let target = -1;
    for (let avail = (this.orders >>> order) << order; avail !== 0; avail &= avail - 1) {
      const o = 31 - Math.clz32(avail & -avail);
      const candidate = last === this.last ? this.highest(o) : this.highestUpTo(o, ceiling >>> o);
      if (candidate < 0) continue;
      const within = Math.min(ceiling >>> order, ((candidate + 1) << (o - order)) - 1);
      if (within <= target) continue;
      from = o;
      block = candidate;
      target = within;
    }
    if (target < 0) return -1;
    this.carve(from, block, order, target);
    const page = target << order;
    this.reach(this.last - page);
    return page;
  }

  /** Allocates exactly `pages` from a free block of `order`, their power of two, and frees the tail of the block. */
  takeExact(order: number, pages: number, last: number): number {
    const page = this.take(order, pages, last);
    if (page >= 0) this.release(page + pages, page + (1 << order));
    return page;
  }

  /** Allocates at the end of a usable range, where the range cuts the aligned block short. */
  takeAtEnd(order: number, pages: number, last: number): number {
    for (let i = this.ends.length - 1; i >= 0; i--) {
      const end = this.ends[i]!;
      const page = ((end - 1) >>> order) << order;
      if (page + pages - 1 > last || !this.freeFrom(page, order, pages)) continue;
      this.claim(page, pages);
      this.reach(this.last - page);
      return page;
    }
    return -1;
  }

  /**
   * Frees a block of 2^order pages. Returns the order of the block after merging with free neighbours.
   * @param top the largest order to merge to
   */
  give(order: number, page: number, top: number = this.top): number {
    let block = page >>> order;
    let grown = order;
    while (grown < top && this.isFree(grown, block ^ 1)) {
      this.clear(grown, block ^ 1);
      block >>>= 1;
      grown++;
    }
    this.set(grown, block);
    return grown;
  }

  /** Frees the pages [first, end). Returns the largest order of the resulting blocks, -1 for an empty range. */
  release(first: number, end: number): number {
    let largest = -1;
    let page = first;
    while (page < end) {
      const fits = 31 - Math.clz32(end - page);
      const aligned = page === 0 ? this.top : 31 - Math.clz32(page & -page);
      const order = Math.min(fits, aligned);
      largest = Math.max(largest, this.give(order, page));
      page += 1 << order;
    }
    return largest;
  }

  /** Allocates the pages [first, first + pages), which must all be free. */
  claim(first: number, pages: number): void {
    const end = first + pages;
    let page = first;
    while (page < end) {
      let order = 0;
      while (!this.isFree(order, page >>> order)) order++;
      this.clear(order, page >>> order);
      const block = (page >>> order) << order;
      const next = Math.min(end, block + (1 << order));
      this.release(block, page);
      this.release(next, block + (1 << order));
      page = next;
    }
  }

  /** True if the pages [first, first + pages) are free. `first` is aligned to 2^order, and pages <= 2^order. */
  freeFrom(first: number, order: number, pages: number): boolean {
    let end = first;
    // The block after a free block is smaller, because two of one order would have merged. So one pass downwards is
    // enough.
    for (let o = order; o >= 0 && end < first + pages; o--) {
      if (this.isFree(o, end >>> o)) end += 1 << o;
    }
    return end >= first + pages;
  }

  /**
   * Remember an allocation of `pages` <= SMALL_PAGES, which was taken.
   * @param place the number of pages between its first page and the last one of the span
   */
  hold(place: number, pages: number): void {
    this.held[(place & COLUMN) * this.rows + (place >>> COLUMN_BITS)] = pages;
  }

  /**
   * Forgets an allocation. Returns false, and changes nothing, if there is no allocation of exactly that size there. The
   * place is found here, not by `heldAt` and `hold`: V8 inlines only so much bytecode of an `IovaAllocator.free`.
   */
  drop(place: number, pages: number): boolean {
    const row = place >>> COLUMN_BITS;
    const at = (place & COLUMN) * this.rows + row;
    if (row >= this.rows || this.held[at] !== pages) return false;
    this.held[at] = 0;
    return true;
  }

  /** `hold` for more than SMALL_PAGES. */
  holdLarge(place: number, pages: number): void {
    this.hold(place, LARGE);
    this.hold(place - 1, DIGIT | (pages & 0x7f));
    this.hold(place - 2, DIGIT | ((pages >>> 7) & 0x7f));
    this.hold(place - 3, DIGIT | (pages >>> 14));
  }

  /** `drop` for more than SMALL_PAGES. */
  dropLarge(place: number, pages: number): boolean {
    return this.heldAt(place) === LARGE && this.largeAt(place) === pages && this.drop(place, LARGE);
  }

  /** The pages of all allocations, including the rounding. */
  get pagesHeld(): number {
    let pages = 0;
    for (let place = 0; place < this.held.length; place++) {
      const count = this.heldAt(place);
      if (count === LARGE) pages += this.largeAt(place);
      else if (count > 0 && count < LARGE) pages += 2 ** (32 - Math.clz32(count - 1));
    }
    return pages;
  }

  private largeAt(place: number): number {
    return (
      (this.heldAt(place - 1) & 0x7f) |
      ((this.heldAt(place - 2) & 0x7f) << 7) |
      ((this.heldAt(place - 3) & 0x7f) << 14)
    );
  }

  private heldAt(place: number): number {
    const row = place >>> COLUMN_BITS;
    return row < this.rows ? this.held[(place & COLUMN) * this.rows + row]! : -1;
  }

  /** `held` grows where pages are taken, not at each `hold`: most of those are of addresses that magazines had. */
  private reach(place: number): void {
    const { held, rows } = this;
    if (place < held.length) return;
    this.held = new Uint8Array(Math.min(this.last + 1, 2 ** (32 - Math.clz32(place))));
    this.rows = this.held.length >>> COLUMN_BITS;
    for (let column = 0; column <= COLUMN; column++) {
      this.held.set(held.subarray(column * rows, (column + 1) * rows), column * this.rows);
    }
  }

  /** Takes free block `block` of order `from`, keeps `target` of `order` inside it, and frees the rest. */
  private carve(from: number, block: number, order: number, target: number): void {
    this.clear(from, block);
    for (let o = from - 1; o >= order; o--) this.set(o, (target >>> (o - order)) ^ 1);
  }

  private isFree(order: number, block: number): boolean {
    return (this.bits[this.at[order * STRIDE]! + (block >>> 5)]! & (1 << block)) !== 0;
  }

  private set(order: number, block: number): void {
    const bits = this.bits;
    const at = this.at;
    let index = block;
    for (let level = order * STRIDE; at[level]! >= 0; level++) {
      const word = at[level]! + (index >>> 5);
      const old = bits[word]!;
      bits[word] = old | (1 << index);
      if (old !== 0) return;
      index >>>= 5;
    }
    this.orders |= 1 << order;
  }

  private clear(order: number, block: number): void {
    const bits = this.bits;
    const at = this.at;
    let index = block;
    for (let level = order * STRIDE; at[level]! >= 0; level++) {
      const word = at[level]! + (index >>> 5);
      const left = bits[word]! & ~(1 << index);
      bits[word] = left;
      if (left !== 0) return;
      index >>>= 5;
    }
    this.orders &= ~(1 << order);
  }

  /** The highest free block of an order that has at least one. */
  private highest(order: number): number {
    const first = order * STRIDE;
    return this.descend(first, first + this.summit[order]! + 1, 0);
  }

  /** The highest free block of `order` with a number of at most `ceiling`, or -1. */
  private highestUpTo(order: number, ceiling: number): number {
    const bits = this.bits;
    const at = this.at;
    const first = order * STRIDE;
    let index = ceiling;
    for (let level = first; at[level]! >= 0; level++) {
      const word = bits[at[level]! + (index >>> 5)]! & (-1 >>> (31 - (index & 31)));
      if (word !== 0) return this.descend(first, level, (index & ~31) | (31 - Math.clz32(word)));
      index = (index >>> 5) - 1;
      if (index < 0) return -1;
    }
    return -1;
  }

  /** From bit `index` of the level at `level` down to the highest block below it. */
  private descend(first: number, level: number, index: number): number {
    let found = index;
    for (let l = level - 1; l >= first; l--) {
      found = (found << 5) | (31 - Math.clz32(this.bits[this.at[l]! + found]!));
    }
    return found;
  }
}
