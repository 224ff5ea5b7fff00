/**
 * Scatter gather lists (NVM Express Base 2.0, 4.1.2). Where the controller takes them, a piece is one descriptor
 * however long it is, and one piece needs no list at all; pieces may start and end anywhere, or at dwords if the
 * controller says so.
 *
 *      one piece      command: [ data block ]
 *      several        command: [ last segment ] -> page: [ data block | data block | ... ]
 *
 * Segments could be chained. As the kernel's driver, this one never does: QEMU mistakes the third for one too many.
 */
import type { DataPointer } from './commands.ts';
import type { ListPage, ListPages } from './pages.ts';
import type { Piece } from './prp.ts';

const WORD = 2 ** 32;
const DESCRIPTOR = 16;
/** PSDT 01b: SGL, metadata (of which there is none) by address. */
const BY_SGL = 1 << 14;

/** Descriptor types, in the upper half of the last byte. */
const TYPE = { dataBlock: 0, lastSegment: 3 << 28 } as const;

/** Whether the controller takes SGLs, and of what (SGLS of Identify Controller, Base 2.0, figure 275). */
export type SglSupport = 'none' | 'dwords' | 'bytes';

export function fitsSgl(pieces: readonly Piece[], support: SglSupport, pageSize: number): boolean {
  if (pieces.length > mostDescriptors(pageSize)) return false;
  if (support !== 'dwords') return support === 'bytes';
  return pieces.every(({ address, length }) => address % 4 === 0 && length % 4 === 0);
}

/** Pieces that one command can be told of. */
export function mostDescriptors(pageSize: number): number {
  return pageSize / DESCRIPTOR;
}

/**
 * Describe the pieces, which `fitsSgl`. @param lists takes the page of the list, for as long as the command is under
 * way
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
