/**
 * I/O virtual addresses for one address space. The order of allocation is the kernel's; the kernel's tree is not used.
 *
 *      request -> magazine below 4 GiB -> buddy below 4 GiB -> magazine above -> buddies above, top-down
 *                 (magazine.ts)          (buddy.ts)                             (spans.ts)
 *              -> everything cached flushed, both buddies once more -> -1
 *
 * As in drivers/iommu/dma-iommu.c and iova.c: addresses below 4 GiB come first whatever the mask is, from the top
 * down, aligned to the size rounded up to a power of two. An allocation of up to 32 pages takes that whole power of
 * two. A larger one takes its exact pages, and the rest of the aligned block stays available to others. A request is
 * refused if no aligned block within the limit is free. A large request needs only the part of its block that is
 * inside the usable range. Every allocation is recorded at its first page, so a free of anything else changes
 * nothing.
 */
import { checkSize, describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import type { IovaRange } from './address-space.ts';
import { Magazines } from './magazine.ts';
import { fitsEmpty, type PageRange, powerOfTwoCeil, trimRanges } from './page-ranges.ts';
import { Spans } from './spans.ts';

// These constants are not imported: V8 reads an imported one from memory and checks it at every use.
const SPAN = 2 ** 32;
/** An allocation of up to 2^5 pages takes a power of two of pages, and may come from a magazine. */
const SMALL_ORDER = 5;

/** Allocates addresses. Each method works as the method of IovaAllocator. */
export interface IovaSource {
  readonly used: number;
  alloc(size: number, limit: number): number;
  free(iova: number, size: number): boolean;
  supports(limit: number, size?: number): boolean;
}

// The fields are `declare private`, not #. A field that is never undefined, and never an integer once and a double
// later, is one that V8 treats as a constant of known kind. Shorter bytecode also lets V8 inline alloc and free.
export class IovaAllocator implements IovaSource {
  declare private readonly pages: readonly PageRange[];
  declare private readonly pageSize: number;
  declare private readonly shift: number;
  declare private readonly pageMask: number;
  declare private readonly spans: Spans;
  declare private readonly magazines: Magazines;
  private limit = Number.NaN;
  private pagesHeld = 0;

  /**
   * @param ranges usable addresses as in AddressSpace.ranges: inclusive ends below 2^53, ascending, disjoint
   * @param pageSize the IOMMU page, a power of two from 4 KiB to 1 MiB
   * @throws DmaError EINVAL
   */
  constructor(ranges: readonly IovaRange[], pageSize: number) {
    const shift = Math.log2(pageSize);
    if (!Number.isInteger(shift) || shift < 12 || shift > 20) {
      throw new DmaError('EINVAL', `page size is ${describe(pageSize)}`, {
        remedy: 'pass a power of two from 4096 to 1048576',
      });
    }
    this.pages = trimRanges(ranges, pageSize);
    this.pageSize = pageSize;
    this.shift = shift;
    this.pageMask = pageSize - 1;
    const spans = new Spans(this.pages, pageSize);
    this.spans = spans;
    this.magazines = new Magazines((iova, order) => spans.give(iova, order));
  }

  /** The bytes of address space that allocations hold, including the rounding. */
  get used(): number {
    return this.pagesHeld * this.pageSize;
  }

  /**
   * Reserve `size` bytes, rounded up to whole pages. The top of this file describes the order.
   * @param limit highest address the allocation may include: a DMA mask, or the lower of mask and bus limit
   * @returns the IOVA, or -1 if there is no room
   * @throws DmaError EINVAL if size is not a whole number of bytes from 1 to 2^53 - 1
   */
  alloc(size: number, limit: number): number {
    if (limit !== this.limit) this.aim(limit);
    const pages = (size + this.pageMask) >>> this.shift;
    if ((size | 0) !== size || (pages - 1) >>> SMALL_ORDER !== 0) return this.allocLarge(size);
    const order = 32 - Math.clz32(pages - 1);
    let iova = this.magazines.popLow(order);
    if (iova < 0) {
      iova = this.allocHigh(order);
      if (iova < 0) return -1;
    }
    // The complement counts the pages up to the last one of the span.
    this.spans.find(iova)!.hold(~iova >>> this.shift, pages);
    this.pagesHeld += 1 << order;
    return iova;
  }

  /**
   * Free an allocation: the address that `alloc` returned, with the size that it was asked for.
   * @returns false, and nothing changed, if there is no such allocation (freed before, other size, other address)
   */
  free(iova: number, size: number): boolean {
    const pages = (size + this.pageMask) >>> this.shift;
    if ((size | 0) !== size || (pages - 1) >>> SMALL_ORDER !== 0) return this.freeLarge(iova, size);
    const order = 32 - Math.clz32(pages - 1);
    const span = this.spans.find(iova);
    const page = (iova >>> 0) >>> this.shift;
    if (
      span === undefined ||
      span.number * SPAN + page * this.pageSize !== iova ||
      !span.drop(~iova >>> this.shift, pages)
    )
      return false;
    this.magazines.push(iova, order, iova + (this.pageSize << order));
    this.pagesHeld -= 1 << order;
    return true;
  }

  /**
   * Would `size` bytes (default one page) fit under `limit` if nothing were allocated? Setting a mask asks this
   * question.
   */
  supports(limit: number, size: number = this.pageSize): boolean {
    checkSize(size, 'IOVA size');
    const bytes = Math.ceil(size / this.pageSize) * this.pageSize;
    return fitsEmpty(
      this.pages,
      bytes <= this.pageSize << SMALL_ORDER ? powerOfTwoCeil(bytes) : bytes,
      limit,
    );
  }

  private aim(limit: number): void {
    const whole = limit >= 0 ? Math.min(Math.floor(limit), Number.MAX_SAFE_INTEGER) : 0;
    this.spans.aim(whole);
    this.magazines.aim(whole);
    this.limit = limit;
  }

  private allocHigh(order: number): number {
    const iova = this.spans.lowLacks(order) ? this.magazines.popHigh(order) : -1;
    return iova < 0 ? this.allocMiss(order) : iova;
  }

  private allocMiss(order: number): number {
    const pages = 1 << order;
    let iova = this.spans.takeLow(order, pages, false);
    if (iova < 0) iova = this.spans.takeHigh(order, pages, false);
    if (iova < 0 && this.flush()) {
      iova = this.spans.takeLow(order, pages, false);
      if (iova < 0) iova = this.spans.takeHigh(order, pages, false);
    }
    return iova;
  }

  private allocLarge(size: number): number {
    checkSize(size, 'IOVA size');
    const pages = Math.ceil(size / this.pageSize);
    let iova = this.takeLarge(pages);
    if (iova < 0 && this.flush()) iova = this.takeLarge(pages);
    if (iova < 0) return -1;
    if (pages * this.pageSize <= SPAN) this.spans.find(iova)!.holdLarge(~iova >>> this.shift, pages);
    this.pagesHeld += pages;
    return iova;
  }

  private takeLarge(pages: number): number {
    if (pages * this.pageSize > SPAN) return this.spans.takeHuge(pages * this.pageSize);
    const order = 32 - Math.clz32(pages - 1);
    const iova = this.spans.takeLow(order, pages, true);
    return iova >= 0 ? iova : this.spans.takeHigh(order, pages, true);
  }

  private freeLarge(iova: number, size: number): boolean {
    if (!Number.isSafeInteger(size) || size <= 0) return false;
    const pages = Math.ceil(size / this.pageSize);
    const bytes = pages * this.pageSize;
    const freed = bytes > SPAN ? this.spans.giveHuge(iova, bytes) : this.giveLarge(iova, pages);
    if (freed) this.pagesHeld -= pages;
    return freed;
  }

  private giveLarge(iova: number, pages: number): boolean {
    const span = this.spans.find(iova);
    const page = (iova >>> 0) >>> this.shift;
    if (
      span === undefined ||
      span.number * SPAN + page * this.pageSize !== iova ||
      !span.dropLarge(~iova >>> this.shift, pages)
    )
      return false;
    this.spans.release(iova, pages);
    return true;
  }

  /** Moves all cached blocks back to the buddies, where they can merge. Returns false if there was none. */
  private flush(): boolean {
    if (!this.magazines.stocked) return false;
    this.magazines.flush();
    return true;
  }
}
