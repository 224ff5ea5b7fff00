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
// later, is one that V8 treats as a constant of known kind. And V8 inlines alloc and free into one loop only while both,
// with all that they call for a small size, have some 860 bytes of bytecode: a call would make each address an object.
export class IovaAllocator implements IovaSource {
  declare private readonly pages: readonly PageRange[];
  declare private readonly pageSize: number;
  declare private readonly shift: number;
  declare private readonly pageMask: number;
  /** The bits of an address that number its page. */
  declare private readonly pageBits: number;
  declare private readonly spans: Spans;
  declare private readonly magazines: Magazines;
  private limit = Number.NaN;

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
    this.pageBits = -pageSize;
    const spans = new Spans(this.pages, pageSize, (first, end) => this.magazines.bankOf(first, end));
    this.spans = spans;
    this.magazines = new Magazines(pageSize, (iova, order) => spans.give(iova, order));
  }

  /** The bytes of address space that allocations hold, including the rounding. They are counted anew each time. */
  get used(): number {
    return this.spans.used;
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
    const order = 32 - Math.clz32(pages - 1);
    if (order > SMALL_ORDER || (size | 0) !== size) return this.allocLarge(size);
    let iova = this.magazines.pop(order, this.spans.lowLacks(order));
    if (iova < 0) {
      // The plus tells V8 that what a call returns is a number. Without it every address is an object for a while.
      iova = +this.allocMiss(order);
      if (iova < 0) return -1;
    }
    // The complement counts the pages up to the last one of the span.
    this.spans.find(iova).hold(~iova >>> this.shift, pages);
    return iova;
  }

  /**
   * Free an allocation: the address that `alloc` returned, with the size that it was asked for.
   * @returns false, and nothing changed, if there is no such allocation (freed before, other size, other address)
   */
  free(iova: number, size: number): boolean {
    const pages = (size + this.pageMask) >>> this.shift;
    const order = 32 - Math.clz32(pages - 1);
    if (order > SMALL_ORDER || (size | 0) !== size) return this.freeLarge(iova, size);
    const span = this.spans.find(iova);
    if (
      span.number * SPAN + ((iova & this.pageBits) >>> 0) !== iova ||
      !span.drop(~iova >>> this.shift, pages)
    )
      return false;
    this.magazines.push(iova, order, span.bank);
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
    if (this.magazines.aim(whole)) this.spans.assignBanks();
    this.limit = limit;
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
    if (pages * this.pageSize <= SPAN) this.spans.find(iova).holdLarge(~iova >>> this.shift, pages);
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
    return bytes > SPAN ? this.spans.giveHuge(iova, bytes) : this.giveLarge(iova, pages);
  }

  private giveLarge(iova: number, pages: number): boolean {
    const span = this.spans.find(iova);
    if (
      span.number * SPAN + ((iova & this.pageBits) >>> 0) !== iova ||
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
