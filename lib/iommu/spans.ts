/**
 * The address space as spans of 4 GiB. Each span has a buddy allocator, which is made at the first allocation in the
 * span:
 *
 *      0           4 GiB                                                       2^53
 *      |  span 0   |  span 1  |  span 2  | ...                            |  ...  |
 *        tried        tables on demand, the highest within reach first; an untouched span costs nothing
 *        first
 *
 * Natural alignment keeps an allocation of up to 4 GiB inside one span. A larger one takes whole spans out of use,
 * and the pages that it still needs from the next span.
 */
import { Buddy } from './buddy.ts';
import { type PageRange, powerOfTwoCeil } from './page-ranges.ts';

const SPAN = 2 ** 32;
/**
 * The last index in the table of recently found spans. The low bits of a span's number are its index, so neighbours do
 * not collide.
 */
const RECENT = 255;

/** The bank of the magazines for the blocks that end in (first, end], or -1 if they are of several banks. */
export type BankOf = (first: number, end: number) => number;

class Span extends Buddy {
  /** The address of the span divided by 4 GiB. */
  declare readonly number: number;
  /** What BankOf says of the span, so that a free does not compare its address with the edges of the banks. */
  bank = -1;
  /** The index in the ascending list; -1 for span 0, which is not in the list. */
  slot = -1;

  constructor(number: number, top: number) {
    super(top);
    this.number = number;
  }

  /**
   * The address of the first page. This is not a field, because it would be an integer in one span and a double in
   * the next.
   */
  get base(): number {
    return this.number * SPAN;
  }
}

/** Has no allocation: what is looked for and not found. */
const NOWHERE = new Span(-1, 0);

/** Whole spans [first, end) that one allocation of `bytes` took. */
type Taken = { readonly first: number; readonly end: number; readonly bytes: number };

/** The free pages of an address space, in spans of 4 GiB with a buddy each. */
export class Spans {
  declare private readonly ranges: readonly PageRange[];
  declare private readonly pageSize: number;
  declare private readonly shift: number;
  declare private readonly bankOf: BankOf;
  /** NOWHERE until an address below 4 GiB is asked for. */
  private low: Span = NOWHERE;
  /** Touched spans above 4 GiB, ascending; and those of them in which a usable range ends. */
  private sorted: Span[] = [];
  private cutShort: Span[] = [];
  private readonly recent: Span[] = Array.from({ length: RECENT + 1 }, () => NOWHERE);
  /** Per order: no slot above this one has a block of the order. It may be too high, but never too low. */
  declare private readonly hint: Int32Array;
  private readonly taken: Taken[] = [];

  private limit = Number.NaN;
  /**
   * The span that contains the limit, the page of the limit in it, and the last page of span 0 below the limit (-1:
   * none).
   */
  private limitSpan = -1;
  private limitPage = -1;
  private lowPage = -1;
  /** The highest slot and the highest untouched span within the limit, -1 if there is none; valid while `settled`. */
  private limitSlot = -1;
  private untouched = -1;
  private settled = false;

  constructor(ranges: readonly PageRange[], pageSize: number, bankOf: BankOf) {
    this.ranges = ranges;
    this.bankOf = bankOf;
    this.pageSize = pageSize;
    this.shift = Math.log2(pageSize);
    this.hint = new Int32Array(33 - this.shift).fill(-1);
  }

  /** Sets the highest address that later allocations may include. */
  aim(limit: number): void {
    const pages = Math.floor((limit + 1) / this.pageSize);
    const perSpan = SPAN / this.pageSize;
    this.limit = limit;
    this.lowPage = (Math.min(pages, perSpan) - 1) | 0;
    this.limitSpan = Math.floor((pages - 1) / perSpan) | 0;
    this.limitPage = (pages - 1 - this.limitSpan * perSpan) | 0;
    this.settled = false;
  }

  /**
   * The touched span that holds `iova`. If `iova` is no address of this space, it may be any span: check its
   * `number`. Addresses below 4 GiB go the same way, because among many live ones no processor foresees which they are.
   */
  find(iova: number): Span {
    const number = (iova / SPAN) | 0;
    const span = this.recent[number & RECENT]!;
    return span.number === number ? span : this.lookUp(number);
  }

  /** The bytes of all allocations. */
  get used(): number {
    const huge = this.taken.reduce((sum, { bytes }) => sum + bytes, 0);
    return [this.low, ...this.sorted].reduce((sum, span) => sum + span.pagesHeld * this.pageSize, huge);
  }

  /** The banks have changed. */
  assignBanks(): void {
    for (const span of [this.low, ...this.sorted]) this.assignBank(span);
  }

  /** True if no block of this order is free below 4 GiB. A cheap test before takeLow. */
  lowLacks(order: number): boolean {
    return this.low.orders >>> order === 0;
  }

  /**
   * Allocates `pages` below 4 GiB, aligned to their power of two 2^order. With `exact`, the rest of the aligned block
   * stays free. Returns the IOVA, or -1.
   */
  takeLow(order: number, pages: number, exact: boolean): number {
    if (this.lowPage < 0) return -1;
    if (this.low === NOWHERE) this.low = this.populate(new Span(0, 32 - this.shift));
    const low = this.low;
    let page = exact ? low.takeExact(order, pages, this.lowPage) : low.take(order, pages, this.lowPage);
    if (page < 0 && exact) page = low.takeAtEnd(order, pages, this.lowPage);
    return page < 0 ? -1 : page * this.pageSize;
  }

  /** As `takeLow`, from 4 GiB up. */
  takeHigh(order: number, pages: number, exact: boolean): number {
    if (this.limitSpan < 1) return -1;
    for (;;) {
      if (!this.settled) this.settle();
      const iova = this.takeTouched(order, pages, exact);
      if (iova >= 0) return iova;
      if (this.untouched < 0) return exact ? this.takeAtEnds(order, pages) : -1;
      this.touch(this.untouched);
    }
  }

  /** Frees the 2^order pages at `iova`. */
  give(iova: number, order: number): void {
    const span = this.find(iova);
    this.raise(span, span.give(order, (iova >>> 0) >>> this.shift));
  }

  /** Frees [iova, iova + pages), which lies inside one span. */
  release(iova: number, pages: number): void {
    const span = this.find(iova);
    const page = (iova >>> 0) >>> this.shift;
    this.raise(span, span.release(page, page + pages));
  }

  /** Allocates more than 4 GiB: whole pages, aligned to their power of two. Returns the IOVA, or -1. */
  takeHuge(bytes: number): number {
    const align = powerOfTwoCeil(bytes);
    for (let w = this.ranges.length - 1; w >= 0; w--) {
      const { start, end } = this.ranges[w]!;
      let iova = Math.floor((Math.min(end, this.limit + 1) - bytes) / align) * align;
      while (iova >= start) {
        const busy = this.busySpan(iova, bytes);
        if (busy < 0) {
          this.claimHuge(iova, bytes);
          return iova;
        }
        const clear = Math.floor(((busy - Math.floor(bytes / SPAN)) * SPAN) / align) * align;
        iova = Math.min(iova - align, clear);
      }
    }
    return -1;
  }

  /** Frees an allocation of takeHuge. Returns false if there is no such allocation. */
  giveHuge(iova: number, bytes: number): boolean {
    const index = this.taken.findIndex((taken) => taken.first * SPAN === iova && taken.bytes === bytes);
    if (index < 0) return false;
    const { end } = this.taken[index]!;
    this.taken.splice(index, 1);
    const rest = (bytes % SPAN) / this.pageSize;
    if (rest > 0) this.release(end * SPAN, rest);
    this.settled = false;
    return true;
  }

  private assignBank(span: Span): void {
    span.bank = this.bankOf(span.base, span.base + SPAN);
  }

  private lookUp(number: number): Span {
    const span = number === 0 ? this.low : this.sorted[this.slotUpTo(number)];
    if (span?.number !== number) return NOWHERE;
    this.recent[number & RECENT] = span;
    return span;
  }

  /** The slot of the highest touched span that is not above span `number`; -1 if there is none. */
  private slotUpTo(number: number): number {
    let below = -1;
    let above = this.sorted.length;
    while (above - below > 1) {
      const middle = (below + above) >>> 1;
      if (this.sorted[middle]!.number <= number) below = middle;
      else above = middle;
    }
    return below;
  }

  /** Tries the touched spans that lie above every untouched one, from the top down. */
  private takeTouched(order: number, pages: number, exact: boolean): number {
    for (let slot = Math.min(this.hint[order]!, this.limitSlot); slot >= 0; slot--) {
      const span = this.sorted[slot]!;
      if (span.number < this.untouched) return -1;
      const last = this.lastPage(span);
      const page = exact ? span.takeExact(order, pages, last) : span.take(order, pages, last);
      if (page >= 0) return span.base + page * this.pageSize;
      if (span.orders >>> order === 0 && this.hint[order] === slot) this.lower(order, slot - 1);
    }
    return -1;
  }

  private takeAtEnds(order: number, pages: number): number {
    for (let i = this.cutShort.length - 1; i >= 0; i--) {
      const span = this.cutShort[i]!;
      if (span.number > this.limitSpan) continue;
      const page = span.takeAtEnd(order, pages, this.lastPage(span));
      if (page >= 0) return span.base + page * this.pageSize;
    }
    return -1;
  }

  private lastPage(span: Span): number {
    return span.number === this.limitSpan ? this.limitPage : span.last;
  }

  /** No slot above `slot` has a block of `order`, so none has a block of a larger order. */
  private lower(order: number, slot: number): void {
    for (let o = order; o < this.hint.length && this.hint[o]! > slot; o++) this.hint[o] = slot;
  }

  /** `span` now has a block of `order`, so it can serve any smaller order, too. */
  private raise(span: Span, order: number): void {
    for (let o = order; o >= 0 && this.hint[o]! < span.slot; o--) this.hint[o] = span.slot;
  }

  private settle(): void {
    this.limitSlot = this.slotUpTo(this.limitSpan);
    this.untouched = this.highestUntouched();
    this.settled = true;
  }

  private highestUntouched(): number {
    for (let w = this.ranges.length - 1; w >= 0; w--) {
      const { start, end } = this.ranges[w]!;
      const bottom = Math.max(1, Math.floor(start / SPAN));
      let span = Math.floor((Math.min(end, this.limit + 1) - 1) / SPAN);
      let slot = this.slotUpTo(span);
      while (span >= bottom) {
        const taken = this.taken.find(({ first, end: past }) => span >= first && span < past);
        while (slot >= 0 && this.sorted[slot]!.number > span) slot--;
        if (taken === undefined && this.sorted[slot]?.number !== span) return span;
        span = taken === undefined ? span - 1 : taken.first - 1;
      }
    }
    return -1;
  }

  private touch(number: number): Span {
    const span = this.populate(new Span(number, 32 - this.shift));
    this.renumber([...this.sorted, span].sort((a, b) => a.number - b.number));
    return span;
  }

  /** Opens the pages of a span that the usable ranges contain. */
  private populate(span: Span): Span {
    const { base } = span;
    this.assignBank(span);
    for (const { start, end } of this.ranges) {
      const first = Math.max(start, base) - base;
      const past = Math.min(end, base + SPAN) - base;
      if (first < past) span.open(first / this.pageSize, past / this.pageSize);
    }
    return span;
  }

  private renumber(spans: Span[]): void {
    this.sorted = spans;
    this.cutShort = spans.filter(({ ends }) => ends.length > 0);
    spans.forEach((span, slot) => {
      span.slot = slot;
    });
    this.hint.fill(spans.length - 1);
    this.settled = false;
  }

  /** The lowest span that makes [iova, iova + bytes) unavailable; -1 if the range is free. */
  private busySpan(iova: number, bytes: number): number {
    const first = iova / SPAN;
    const end = first + Math.floor(bytes / SPAN);
    const rest = (bytes % SPAN) / this.pageSize;
    let lowest = Number.POSITIVE_INFINITY;
    for (const taken of this.taken) {
      const overlaps = taken.first < end + (rest > 0 ? 1 : 0) && taken.end > first;
      if (overlaps) lowest = Math.min(lowest, Math.max(taken.first, first));
    }
    for (const span of this.sorted) {
      const { number } = span;
      const whole = number >= first && number < end && !span.empty;
      const tail = number === end && rest > 0 && !span.freeFrom(0, 32 - this.shift, rest);
      if (whole || tail) lowest = Math.min(lowest, number);
    }
    return Number.isFinite(lowest) ? lowest : -1;
  }

  private claimHuge(iova: number, bytes: number): void {
    const first = iova / SPAN;
    const end = first + Math.floor(bytes / SPAN);
    this.taken.push({ first, end, bytes });
    this.recent.fill(NOWHERE);
    this.renumber(this.sorted.filter(({ number }) => number < first || number >= end));
    const rest = (bytes % SPAN) / this.pageSize;
    const last = this.lookUp(end);
    if (rest > 0) (last === NOWHERE ? this.touch(end) : last).claim(0, rest);
  }
}
