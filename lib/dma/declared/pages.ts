/**
 * The pages of declared memory in use and free (the bitmap of kernel/dma/coherent.c and lib/bitmap.c). Runs are
 * powers of two of pages. The first run that fits is used. It starts at a multiple of its length from the first page.
 *
 *      page   0 1 2 3 4 5 6 7 8 ...
 *             x . a a b b b b .          x: 1 page, then a: 2 pages, then b: 3 pages, rounded up to 4
 */
export class DeclaredPages {
  /** A page in use has the value 1. Each page has a byte, because searching for a byte is one call. */
  readonly #taken: Uint8Array;

  /** All of the `pages` pages are free at first. */
  constructor(pages: number) {
    this.#taken = new Uint8Array(pages);
  }

  /** The number of free pages. */
  get free(): number {
    return this.#taken.reduce((sum, taken) => sum - taken, this.#taken.length);
  }

  /** Take `run` pages, a power of two (bitmap_find_free_region). The result is the first of them, or -1. */
  take(run: number): number {
    const pages = this.#taken.length;
    for (let page = 0; page + run <= pages; page += run) {
      if (this.occupy(page, run)) return page;
    }
    return -1;
  }

  /**
   * Take these pages (bitmap_allocate_region). If one of them is in use or does not exist, nothing changes, and the
   * result is false.
   */
  occupy(page: number, run: number): boolean {
    if (page + run > this.#taken.length) return false;
    for (let at = page; at < page + run; at++) if (this.#taken[at] !== 0) return false;
    this.#taken.fill(1, page, page + run);
    return true;
  }

  /** Free pages that were taken (bitmap_release_region). */
  give(page: number, run: number): void {
    this.#taken.fill(0, page, page + run);
  }
}

/** The number of pages in a run that holds `size` bytes: the smallest power of two (get_order). */
export function runOf(size: number, pageSize: number): number {
  let run = 1;
  while (run * pageSize < size) run *= 2;
  return run;
}
