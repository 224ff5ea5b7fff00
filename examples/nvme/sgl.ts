/**
 * Scatter gather lists (NVM Express Base 2.0, 4.1.2). Where the controller takes them, a piece is one descriptor however
 * long it is, and one piece needs no list at all; pieces may start and end anywhere, or at dwords if the controller says so.
 *
 *      one piece      command: [ data block ]
 *      some           command: [ last segment ] -> [ data block | data block | ... ]
 *      many           command: [ segment ] -> [ data block | ... | last segment ] -> [ data block | ... ]
 */
import type { DataPointer } from './commands.ts';
import type { ListPage, ListPages } from './pages.ts';
import type { Piece } from './prp.ts';

const WORD = 2 ** 32;
const DESCRIPTOR = 16;
/** PSDT 01b: SGL, metadata (of which there is none) by address. */
const BY_SGL = 1 << 14;

/** Descriptor types, in the upper half of the last byte. */
const TYPE = { dataBlock: 0, segment: 2 << 28, lastSegment: 3 << 28 } as const;

/** Whether the controller takes SGLs, and of what (SGLS of Identify Controller, Base 2.0, figure 275). */
export type SglSupport = 'none' | 'dwords' | 'bytes';

export function fitsSgl(pieces: readonly Piece[], support: SglSupport): boolean {
  if (support !== 'dwords') return support === 'bytes';
  return pieces.every(({ address, length }) => address % 4 === 0 && length % 4 === 0);
}

/**
 * Describe the pieces, which `fitsSgl`. @param lists takes the pages of the list, for as long as the command is under way
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
  const segments = segmentsOf(pieces, pages.size / DESCRIPTOR);
  const chain = segments.map(() => pages.take());
  lists.push(...chain);
  for (const [i, segment] of segments.entries()) {
    const { descriptors } = chain[i]!;
    for (const [at, { address, length }] of segment.entries()) {
      descriptors.address.setParts(at, address >>> 0, Math.floor(address / WORD));
      descriptors.length.set(at, length);
      descriptors.type.set(at, TYPE.dataBlock);
    }
    const next = chain[i + 1];
    if (next === undefined) continue;
    descriptors.address.setParts(segment.length, next.low, next.high);
    descriptors.length.set(segment.length, bytesOf(segments, i + 1));
    descriptors.type.set(segment.length, linkTo(segments, i + 1));
  }
  const [first] = chain;
  setPointer(pointer, first!.low, first!.high, bytesOf(segments, 0), linkTo(segments, 0));
}

function setPointer(pointer: DataPointer, low: number, high: number, length: number, type: number): void {
  pointer.low1 = low;
  pointer.high1 = high;
  pointer.low2 = length;
  pointer.high2 = type;
}

/** As many pieces as a page holds; one place is for the link where another page follows. */
function segmentsOf(pieces: readonly Piece[], fitting: number): (readonly Piece[])[] {
  const segments: (readonly Piece[])[] = [];
  let at = 0;
  while (pieces.length - at > fitting) {
    segments.push(pieces.slice(at, at + fitting - 1));
    at += fitting - 1;
  }
  segments.push(pieces.slice(at));
  return segments;
}

/** Bytes of descriptors in segment `i`, its link included. */
function bytesOf(segments: readonly (readonly Piece[])[], i: number): number {
  const link = i < segments.length - 1 ? 1 : 0;
  return (segments[i]!.length + link) * DESCRIPTOR;
}

function linkTo(segments: readonly unknown[], i: number): number {
  return i === segments.length - 1 ? TYPE.lastSegment : TYPE.segment;
}
