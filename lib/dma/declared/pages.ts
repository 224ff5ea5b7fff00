/**
 * Which pages of declared memory are taken (the bitmap of kernel/dma/coherent.c and lib/bitmap.c): runs are powers of
 * two of pages, the first that fits is taken, and it starts at a multiple of its length from the first page.
 *
 *      page   0 1 2 3 4 5 6 7 8 ...
 *             x . a a b b b b .          x: 1 page, then a: 2 pages, then b: 3 pages, which are 4
 */
export class DeclaredPages {
  /** 1: taken. A byte a page: searching it is one call. */
  readonly #taken: Uint8Array;

  /** `pages` pages, all free. */
  constructor(pages: number) {
    this.#taken = new Uint8Array(pages);
  }

  /** Pages not taken. */
  get free(): number {
    return this.#taken.reduce((sum, taken) => sum - taken, this.#taken.length);
  }

  /** Takes `run` pages, a power of two (bitmap_find_free_region); returns the first of them, or -1. */
  take(run: number): number {
    const pages = this.#taken.length;
    for (let page = 0; page + run <= pages; page += run) {
      if (this.occupy(page, run)) return page;
    }
    return -1;
  }

  /**
   * Takes these pages (bitmap_allocate_region); false, and nothing has changed, when one of them is taken or not there.
   */
  occupy(page: number, run: number): boolean {
    if (page + run > this.#taken.length) return false;
    for (let at = page; at < page + run; at++) if (this.#taken[at] !== 0) return false;
    this.#taken.fill(1, page, page + run);
    return true;
  }

  /** Gives back what was taken (bitmap_release_region). */
  give(page: number, run: number): void {
    this.#taken.fill(0, page, page + run);
  }
}

/** Pages of a run that holds `size` bytes: the smallest power of two (get_order). */
export function runOf(size: number, pageSize: number): number {
  let run = 1;
  while (run * pageSize < size) run *= 2;
  return run;
}
