/**
 * The free runs of pages of one region. An allocation takes the first run that fits, at a multiple of the size
 * rounded up to a power of two; or the highest one below a limit.
 *
 * Invariants: the runs are ascending and disjoint, and never touch (neighbours are merged).
 */
export class PageRuns {
  /** The number of free pages. */
  free: number;
  readonly #starts: number[];
  readonly #ends: number[];

  /** `pages` pages, all free. The first of them has the number `first`. */
  constructor(pages: number, first = 0) {
    this.free = pages;
    this.#starts = [first];
    this.#ends = [first + pages];
  }

  /** Allocates `pages` (at least 1). Returns the first of them, or -1. */
  take(pages: number): number {
    if (pages > this.free) return -1;
    const align = 2 ** Math.ceil(Math.log2(pages));
    for (let i = 0; i < this.#starts.length; i++) {
      const page = Math.ceil(this.#starts[i]! / align) * align;
      if (page + pages > this.#ends[i]!) continue;
      this.#cut(i, page, page + pages);
      this.free -= pages;
      return page;
    }
    return -1;
  }

  /** As `take`, but it takes the highest run that ends at or below page `last`, at a multiple of `align`. */
  takeTop(pages: number, align: number, last: number): number {
    if (pages > this.free) return -1;
    for (let i = this.#starts.length - 1; i >= 0; i--) {
      const end = Math.min(this.#ends[i]!, last + 1);
      const page = Math.floor((end - pages) / align) * align;
      if (page < this.#starts[i]!) continue;
      this.#cut(i, page, page + pages);
      this.free -= pages;
      return page;
    }
    return -1;
  }

  /** Frees the `pages` pages that `take` or `takeTop` returned. */
  give(page: number, pages: number): void {
    const end = page + pages;
    let i = this.#after(page);
    this.#starts.splice(i, 0, page);
    this.#ends.splice(i, 0, end);
    this.free += pages;
    if (this.#starts[i + 1] === end) this.#merge(i);
    i--;
    if (i >= 0 && this.#ends[i] === page) this.#merge(i);
  }

  /** Removes [page, end) from run `i`, which holds it. */
  #cut(i: number, page: number, end: number): void {
    const start = this.#starts[i]!;
    const rest = this.#ends[i]!;
    if (start < page && end < rest) {
      this.#ends[i] = page;
      this.#starts.splice(i + 1, 0, end);
      this.#ends.splice(i + 1, 0, rest);
    } else if (start < page) {
      this.#ends[i] = page;
    } else if (end < rest) {
      this.#starts[i] = end;
    } else {
      this.#starts.splice(i, 1);
      this.#ends.splice(i, 1);
    }
  }

  /** Index of the first run that starts after `page`. */
  #after(page: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle]! > page) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Merges runs `i` and `i + 1`. */
  #merge(i: number): void {
    this.#ends[i] = this.#ends[i + 1]!;
    this.#starts.splice(i + 1, 1);
    this.#ends.splice(i + 1, 1);
  }
}
