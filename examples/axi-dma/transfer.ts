/** A packet on its way: the memory lent to the device for it, and the promise of its end. */
import { DmaError, type SgMapping, type StreamingMapping } from '../../lib/index.ts';

/** One view, or a list of views that are one packet. */
export type Payload = ArrayBufferView | readonly ArrayBufferView[];

export type Lent = StreamingMapping | SgMapping;

/** A piece of memory as the device sees it. */
export interface Piece {
  readonly address: number;
  /** Bytes. */
  readonly length: number;
}

export class Transfer {
  readonly pieces: readonly Piece[];
  /** Resolves with the bytes that were moved. */
  readonly done: Promise<number>;
  /** Bytes that were moved so far. */
  moved = 0;

  readonly #lent: Lent;
  #resolve!: (bytes: number) => void;
  #reject!: (error: unknown) => void;

  /** @param longest bytes that one piece may have; longer segments are cut */
  constructor(lent: Lent, longest: number) {
    this.#lent = lent;
    this.pieces = segments(lent).flatMap((segment) => cut(segment, longest));
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Bytes lent. */
  get size(): number {
    return this.#lent.size;
  }

  /** The device is done with the memory: it is the caller's again, with what the device wrote. */
  finish(): void {
    try {
      this.#lent.unmap();
      this.#resolve(this.moved);
    } catch (error) {
      this.#reject(error);
    }
  }

  /** @param released the device can no longer reach the memory; if it may, the memory stays mapped until `takeBack` */
  fail(error: unknown, released: boolean): void {
    if (released) this.takeBack();
    this.#reject(error);
  }

  /** Unmap the memory of a transfer that failed: the device can no longer reach it. Harmless to call twice. */
  takeBack(): void {
    try {
      this.#lent[Symbol.dispose]();
    } catch (error) {
      // A caller who detached the buffer meanwhile gets the first error, not this one.
      if (!(error instanceof DmaError)) throw error;
    }
  }
}

function segments(lent: Lent): readonly Piece[] {
  const list = 'segments' in lent ? lent.segments : [{ dmaAddress: lent.dmaAddress, length: lent.size }];
  return list.map(({ dmaAddress, length }) => ({ address: Number(dmaAddress), length }));
}

function cut({ address, length }: Piece, longest: number): Piece[] {
  return Array.from({ length: Math.ceil(length / longest) }, (_, i) => ({
    address: address + i * longest,
    length: Math.min(longest, length - i * longest),
  }));
}
