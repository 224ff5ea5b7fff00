/**
 * A copy of a block of memory, in pages. Copies share the pages that did not change between them: a copy of megabytes is a
 * comparison, and memory for the few pages that a design wrote.
 */

/** The size of a page of WebAssembly, in bytes: the block is whole pages. */
export const PAGE = 65_536;

export type Pages = readonly Uint8Array[];

/** @param last an older copy, whose pages are shared where they are the same */
export function copyPages(bytes: Uint8Array, last: Pages): Pages {
  return Array.from({ length: bytes.length / PAGE }, (_, i) => {
    const page = bytes.subarray(i * PAGE, (i + 1) * PAGE);
    const before = last[i];
    return before !== undefined && Buffer.compare(before, page) === 0 ? before : page.slice();
  });
}

export function putPages(pages: Pages, into: Uint8Array): void {
  for (const [i, page] of pages.entries()) into.set(page, i * PAGE);
}
