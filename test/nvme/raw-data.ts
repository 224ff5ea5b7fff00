/** Data in pieces, and the PRPs and SGLs that say where they are. */
import type { CoherentBuffer, PciFunction } from '../../lib/index.ts';
import type { RawCommand } from './raw.ts';

export const PAGE = 4096;
const DATA_BLOCK = 0;
const SEGMENT = 2;
const LAST_SEGMENT = 3;

/** Bytes of an arena. */
export interface Piece {
  readonly at: number;
  readonly length: number;
}

/** Memory in which pieces lie anywhere, and lists and segments with them. */
export class Arena {
  readonly memory: CoherentBuffer;
  readonly #view: DataView;

  constructor(fn: PciFunction, pages: number) {
    this.memory = fn.dma.allocCoherent(pages * PAGE);
    this.#view = new DataView(this.memory.buffer);
  }

  get bytes(): Uint8Array {
    return this.memory.bytes;
  }

  address(at: number): bigint {
    return this.memory.dmaAddress + BigInt(at);
  }

  gather(pieces: readonly Piece[]): Uint8Array {
    return Uint8Array.from(pieces.flatMap(({ at, length }) => [...this.bytes.subarray(at, at + length)]));
  }

  scatter(pieces: readonly Piece[], data: Uint8Array): void {
    let from = 0;
    for (const { at, length } of pieces) {
      this.bytes.set(data.subarray(from, from + length), at);
      from += length;
    }
  }

  /**
   * PRPs of pieces that meet at page boundaries. @param lists where lists may be written, each to the end of its page:
   * all but the last end with a pointer to the next
   */
  prps(pieces: readonly Piece[], lists: readonly number[] = []): Pick<RawCommand, 'prp1' | 'prp2'> {
    const [first, second, ...more] = pieces.map(({ at }) => this.address(at));
    if (second === undefined) return { prp1: first! };
    if (more.length === 0) return { prp1: first!, prp2: second };
    const entries = [second, ...more];
    let list = 0;
    let at = lists[0]!;
    for (const [i, entry] of entries.entries()) {
      if (at % PAGE === PAGE - 8 && i < entries.length - 1) {
        this.#view.setBigUint64(at, this.address(lists[++list]!), true);
        at = lists[list]!;
      }
      this.#view.setBigUint64(at, entry, true);
      at += 8;
    }
    return { prp1: first!, prp2: this.address(lists[0]!) };
  }

  /** An SGL of any pieces, in segments of `each` descriptors that are written from `at` on; 0: one block in the command. */
  sgl(pieces: readonly Piece[], each = 0, at = 0): Pick<RawCommand, 'flags' | 'prp1' | 'prp2'> {
    const inCommand = (address: bigint, length: number, type: number) => ({
      flags: 0x40,
      prp1: address,
      prp2: BigInt(length) | (BigInt(type) << 60n),
    });
    if (each === 0) return inCommand(this.address(pieces[0]!.at), pieces[0]!.length, DATA_BLOCK);
    const segments: { readonly at: number; readonly pieces: readonly Piece[] }[] = [];
    for (let i = 0, free = at; i < pieces.length; i += each) {
      const some = pieces.slice(i, i + each);
      segments.push({ at: free, pieces: some });
      free += 16 * (some.length + 1);
    }
    const sizes = segments.map(({ pieces }, i) => 16 * (pieces.length + (i < segments.length - 1 ? 1 : 0)));
    const type = (i: number): number => (i === segments.length - 1 ? LAST_SEGMENT : SEGMENT);
    for (const [i, segment] of segments.entries()) {
      let to = segment.at;
      for (const piece of segment.pieces) {
        this.descriptor(to, this.address(piece.at), piece.length, DATA_BLOCK);
        to += 16;
      }
      const next = segments[i + 1];
      if (next !== undefined) this.descriptor(to, this.address(next.at), sizes[i + 1]!, type(i + 1));
    }
    return inCommand(this.address(at), sizes[0]!, type(0));
  }

  /** Writes one SGL descriptor. */
  descriptor(at: number, address: bigint, length: number, type: number): void {
    this.#view.setBigUint64(at, address, true);
    this.#view.setUint32(at + 8, length, true);
    this.#view.setUint32(at + 12, (type << 28) >>> 0, true);
  }
}

/** `size` bytes in these pages, from `offset` of the first one on. */
export function inPages(pages: readonly number[], offset: number, size: number): Piece[] {
  const pieces: Piece[] = [];
  for (let left = size, i = 0; left > 0; i++) {
    const inPage = i === 0 ? offset : 0;
    const length = Math.min(left, PAGE - inPage);
    pieces.push({ at: pages[i]! * PAGE + inPage, length });
    left -= length;
  }
  return pieces;
}

/** Bytes that tell where they belong. */
export function pattern(size: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Math.imul(i + seed * 7919, 2654435761) >>> 24);
}
