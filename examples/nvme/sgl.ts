/**
 * Scatter gather lists (NVM Express Base 2.0, 4.1.2). If the controller supports them, a piece of any length is one
 * descriptor, and a single piece needs no list. Pieces may start and end anywhere, or only at dwords if the
 * controller requires that.
 *
 *      one piece      command: [ data block ]
 *      several        command: [ last segment ] -> page: [ data block | data block | ... ]
 *
 * Segments could be chained. Like the kernel's driver, this one never does that: QEMU rejects the third segment as
 * one too many.
 */
import type { DataPointer } from './commands.ts';
import type { ListPage, ListPages } from './pages.ts';
import type { Piece } from './prp.ts';

const WORD = 2 ** 32;
const DESCRIPTOR = 16;
/** PSDT 01b: SGL; metadata by address (there is no metadata). */
const BY_SGL = 1 << 14;

/** Descriptor types, in the upper half of the last byte. */
const TYPE = { dataBlock: 0, lastSegment: 3 << 28 } as const;

/** The SGLs that the controller supports (SGLS of Identify Controller, Base 2.0, figure 275). */
export type SglSupport = 'none' | 'dwords' | 'bytes';

export function fitsSgl(pieces: readonly Piece[], support: SglSupport, pageSize: number): boolean {
  if (pieces.length > mostDescriptors(pageSize)) return false;
  if (support !== 'dwords') return support === 'bytes';
  return pieces.every(({ address, length }) => address % 4 === 0 && length % 4 === 0);
}

/** The most pieces that one command can describe. */
export function mostDescriptors(pageSize: number): number {
  return pageSize / DESCRIPTOR;
}

/**
 * Describes the pieces, for which `fitsSgl` must be true.
 * @param lists receives the page of the list, which the command keeps as long as it is under way
 * @throws DmaError ENOMEM
 */
export function describeBySgl(
  pointer: DataPointer,
  pieces: readonly Piece[],
  pages: ListPages,
  lists: ListPage[],
): void {
  pointer.flags = BY_SGL;
  if (pieces.length === 1) {
    const { address, length } = pieces[0]!;
    setPointer(pointer, address >>> 0, Math.floor(address / WORD), length, TYPE.dataBlock);
    return;
  }
  const page = pages.take();
  lists.push(page);
  const { descriptors } = page;
  for (const [at, { address, length }] of pieces.entries()) {
    descriptors.address.setParts(at, address >>> 0, Math.floor(address / WORD));
    descriptors.length.set(at, length);
    descriptors.type.set(at, TYPE.dataBlock);
  }
  setPointer(pointer, page.low, page.high, pieces.length * DESCRIPTOR, TYPE.lastSegment);
}

function setPointer(pointer: DataPointer, low: number, high: number, length: number, type: number): void {
  pointer.low1 = low;
  pointer.high1 = high;
  pointer.low2 = length;
  pointer.high2 = type;
}
