/** Memory lent to the controller for a command, and how the command is told where it is. */
import {
  type DmaDevice,
  type DmaDirection,
  DmaError,
  type SgMapping,
  type StreamingMapping,
} from '../../lib/index.ts';
import { DataPointer } from './commands.ts';
import { type ListPage, ListPages } from './pages.ts';
import { describeByPrps, fitsPrps, type Piece } from './prp.ts';
import { describeBySgl, fitsSgl, mostDescriptors, type SglSupport } from './sgl.ts';

/** One view, or views that are one run of blocks. */
export type Payload = ArrayBufferView | readonly ArrayBufferView[];

export class Lent {
  /** For the command. */
  readonly pointer = new DataPointer();
  readonly #mapping: StreamingMapping | SgMapping;
  readonly #memory: TransferMemory;
  readonly #lists: ListPage[] = [];

  /** Use `TransferMemory.lend`. */
  constructor(memory: TransferMemory, mapping: StreamingMapping | SgMapping) {
    this.#memory = memory;
    this.#mapping = mapping;
    try {
      memory.describe(this.pointer, piecesOf(mapping), this.#lists);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** 'arithmetic', 'pinned' or 'bounced': as the mapping says. */
  get way(): string {
    return this.#mapping.way;
  }

  /** Take it back: the controller is done with it. @throws DmaError EINVAL its buffer was detached meanwhile */
  release(): void {
    this.#memory.pages.give(this.#lists);
    this.#mapping[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

export class TransferMemory {
  readonly dma: DmaDevice;
  readonly pages: ListPages;
  #sgl!: SglSupport;
  /** Commands that memory is lent to till they are done. */
  #borrowers = 0;
  /** To be called when one of them is. */
  readonly #starved = new Set<() => void>();

  /** Without SGLs until `useSgl`. @param pageSize bytes of a page of the controller */
  constructor(dma: DmaDevice, pageSize: number) {
    this.dma = dma;
    this.pages = new ListPages(dma, pageSize);
    // An SGL descriptor holds 32 bits of length; PRP entries do not care (nvme_set_ctrl_limits).
    dma.limits.maxSegmentSize = 2 ** 32 - 1;
    this.useSgl('none');
  }

  useSgl(sgl: SglSupport): void {
    this.#sgl = sgl;
    // What starts inside a dword has to be copied for PRPs and for some SGLs (Base 2.0, 4.1.1).
    this.dma.limits.dmaAlignment = sgl === 'bytes' ? 0 : 3;
  }

  /** Nothing is lent any more. */
  close(): void {
    this.pages.close();
  }

  /**
   * Lend memory to the controller for a command; for many, one after the other, when it is the device's own, of which
   * no copies are made. @throws DmaError what `DmaDevice.mapSingle` and `mapSg` throw
   */
  lend(payload: Payload, direction: DmaDirection): Lent {
    const { dma } = this;
    return new Lent(
      this,
      isView(payload) ? dma.mapSingle(payload, direction) : dma.mapSg(payload, direction),
    );
  }

  /**
   * `lend`, to a command that is sure to end: `done` takes it back. Returns undefined when there is not enough of
   * something now that other commands have, of whatever queue: `again` is called once when one of them is done.
   */
  lendTillDone(payload: Payload, direction: DmaDirection, again: () => void): Lent | undefined {
    try {
      const lent = this.lend(payload, direction);
      this.#borrowers++;
      return lent;
    } catch (error) {
      if (!isShortage(error) || this.#borrowers === 0) throw error;
      this.#starved.add(again);
      return undefined;
    }
  }

  /** @throws as `Lent.release` */
  done(lent: Lent): void {
    this.#borrowers--;
    for (const again of this.#starved) queueMicrotask(again);
    this.#starved.clear();
    lent.release();
  }

  /** Whether a list of views can be given to the controller as it is. */
  takesList(views: readonly ArrayBufferView[]): boolean {
    if (this.#sgl === 'none' || views.length > mostDescriptors(this.pages.size)) return false;
    if (views.some(({ byteLength }) => byteLength === 0)) return false;
    return this.#sgl === 'bytes' || views.every(({ byteLength }) => byteLength % 4 === 0);
  }

  /** Bytes of this memory that one command can be given: what has to be copied goes through slots of a limited size. */
  longest(payload: Payload): number {
    const { dmaAlignment, maxAlignedMappingSize, maxBounceSize } = this.dma.limits;
    const views = isView(payload) ? [payload] : payload;
    const aligned = views.every(({ byteOffset }) => (byteOffset & dmaAlignment) === 0);
    return aligned ? maxAlignedMappingSize : maxBounceSize;
  }

  /** Two pages are told by PRPs without a list, and one piece by an SGL without one. */
  describe(pointer: DataPointer, pieces: readonly Piece[], lists: ListPage[]): void {
    const { size } = this.pages;
    const [first] = pieces;
    const short = pieces.length === 1 && (first!.address % size) + first!.length <= 2 * size;
    const prps = fitsPrps(pieces, size);
    const sgl = fitsSgl(pieces, this.#sgl, size);
    if (prps && (short || !sgl)) describeByPrps(pointer, pieces, this.pages, lists);
    else if (sgl) describeBySgl(pointer, pieces, this.pages, lists);
    else throw notDescribable(size);
  }
}

/** Room to bounce, addresses, mappings or locked memory: there is more when something is given back. */
function isShortage(error: unknown): boolean {
  return error instanceof DmaError && (error.code === 'ENOMEM' || error.code === 'ENOSPC');
}

function notDescribable(pageSize: number): DmaError {
  return new DmaError('EINVAL', 'PRP entries cannot describe this list of views', {
    remedy: `let all but the first start, and all but the last end, at a multiple of ${pageSize} bytes`,
  });
}

export function isView(payload: Payload): payload is ArrayBufferView {
  return ArrayBuffer.isView(payload);
}

const WORD = 2 ** 32;

function piecesOf(mapping: StreamingMapping | SgMapping): Piece[] {
  if (!('segments' in mapping)) return [{ address: mapping.high * WORD + mapping.low, length: mapping.size }];
  return mapping.segments.map(({ low, high, length }) => ({ address: high * WORD + low, length }));
}
