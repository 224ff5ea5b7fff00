/** A packet under way: its mapped memory, and the promise of its end. */
import { DmaError, type SgMapping, type StreamingMapping } from '../../lib/index.ts';

/** One view, or a list of views for one packet. */
export type Payload = ArrayBufferView | readonly ArrayBufferView[];

export type Lent = StreamingMapping | SgMapping;

/** A piece of memory, as the device sees it. */
export interface Piece {
  readonly address: number;
  /** Bytes. */
  readonly length: number;
}

export class Transfer {
  readonly pieces: readonly Piece[];
  /** Resolves with the number of bytes that were moved. */
  readonly done: Promise<number>;
  /** The number of bytes that were moved so far. */
  moved = 0;

  readonly #lent: Lent;
  #resolve!: (bytes: number) => void;
  #reject!: (error: unknown) => void;

  /** @param longest the most bytes of one piece; longer segments are cut */
  constructor(lent: Lent, longest: number) {
    this.#lent = lent;
    this.pieces = segments(lent).flatMap((segment) => cut(segment, longest));
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** The number of mapped bytes. */
  get size(): number {
    return this.#lent.size;
  }

  /** The device is done with the memory. It belongs to the caller again, with the bytes that the device wrote. */
  finish(): void {
    try {
      this.#lent.unmap();
      this.#resolve(this.moved);
    } catch (error) {
      this.#reject(error);
    }
  }

  /**
   * @param released true if the device can no longer reach the memory. If false, the memory stays mapped until
   *   `takeBack`.
   */
  fail(error: unknown, released: boolean): void {
    if (released) this.takeBack();
    this.#reject(error);
  }

  /** Unmaps the memory of a transfer that failed. The device can no longer reach it. Calling it twice is harmless. */
  takeBack(): void {
    try {
      this.#lent[Symbol.dispose]();
    } catch (error) {
      // If the caller detached the buffer meanwhile, it gets the first error, not this one.
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
