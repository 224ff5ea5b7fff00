/**
 * Physical region page entries (NVM Express Base 2.0, 4.1.1). Only the first may start inside a page of memory, at a
 * dword, and only the last may end inside one. In between there are whole pages:
 *
 *      PRP 1    [....xxxx]                    the first page, from its offset on
 *      PRP 2              [xxxxxxxx]          the second page, if it is the last,
 *                         or a list of pages: [ page | page | ... | next page of the list ]
 */
import type { DataPointer } from './commands.ts';
import type { ListPage, ListPages } from './pages.ts';

/** A contiguous piece of memory, as the controller sees it. */
export interface Piece {
  /** Below 2^53. */
  readonly address: number;
  /** Bytes. */
  readonly length: number;
}

const WORD = 2 ** 32;
const ENTRY = 8;

/**
 * True if PRP entries can describe the pieces: each piece but the last ends at the end of a page, and each but the
 * first starts at one.
 */
export function fitsPrps(pieces: readonly Piece[], pageSize: number): boolean {
  const last = pieces.length - 1;
  return pieces.every(({ address, length }, i) => {
    const starts = i === 0 ? address % 4 === 0 : address % pageSize === 0;
    return starts && (i === last || (address + length) % pageSize === 0);
  });
}

/**
 * Describes the pieces, for which `fitsPrps` must be true.
 * @param lists receives the pages of the list, which the command keeps as long as it is under way
 * @throws DmaError ENOMEM
 */
export function describeByPrps(
  pointer: DataPointer,
  pieces: readonly Piece[],
  pages: ListPages,
  lists: ListPage[],
): void {
  const entries = pagesOf(pieces, pages.size);
  const [first = 0, second = 0] = entries;
  pointer.flags = 0;
  pointer.low1 = first >>> 0;
  pointer.high1 = Math.floor(first / WORD);
  pointer.low2 = second >>> 0;
  pointer.high2 = Math.floor(second / WORD);
  if (entries.length <= 2) return;
  const list = writeList(entries, pages, lists);
  pointer.low2 = list.low;
  pointer.high2 = list.high;
}

/** The start of each page of memory. The first includes its offset. */
function pagesOf(pieces: readonly Piece[], pageSize: number): number[] {
  const entries: number[] = [];
  for (const { address, length } of pieces) {
    const end = address + length;
    for (let at = address; at < end; at += pageSize - (at % pageSize)) entries.push(at);
  }
  return entries;
}

/**
 * Writes all entries but the first to pages. The last entry of a page leads to the next page. Returns the first page.
 */
function writeList(entries: readonly number[], pages: ListPages, lists: ListPage[]): ListPage {
  const fitting = pages.size / ENTRY;
  const first = pages.take();
  lists.push(first);
  let page = first;
  let at = 0;
  for (let i = 1; i < entries.length; i++) {
    if (at === fitting - 1 && i < entries.length - 1) {
      const next = pages.take();
      lists.push(next);
      page.prps.address.setParts(at, next.low, next.high);
      page = next;
      at = 0;
    }
    const entry = entries[i]!;
    page.prps.address.setParts(at++, entry >>> 0, Math.floor(entry / WORD));
  }
  return first;
}
