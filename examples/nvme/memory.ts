/**
 * Memory that is mapped for the controller for the time of a command, and the description of its place in the
 * command.
 */
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

/** One view, or several views for one run of blocks. */
export type Payload = ArrayBufferView | readonly ArrayBufferView[];

/** Memory of the caller that a command lends to the controller. */
export class Lent {
  /** The description for the command. */
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

  /** Unmaps the memory: the controller is done with it. @throws DmaError EINVAL its buffer was detached meanwhile */
  release(): void {
    this.#memory.pages.give(this.#lists);
    this.#mapping[Symbol.dispose]();
  }

  /** Takes the memory back. */
  [Symbol.dispose](): void {
    this.release();
  }
}

/** Lends memory for commands, and describes it by PRPs or an SGL. */
export class TransferMemory {
  readonly dma: DmaDevice;
  readonly pages: ListPages;
  #sgl!: SglSupport;
  /** The number of commands that have memory mapped until they are done. */
  #borrowers = 0;
  /** Functions to call when one of those commands is done. */
  readonly #starved = new Set<() => void>();

  /** Without SGLs until `useSgl`. @param pageSize the page size of the controller in bytes */
  constructor(dma: DmaDevice, pageSize: number) {
    this.dma = dma;
    this.pages = new ListPages(dma, pageSize);
    // An SGL descriptor holds 32 bits of length. PRP entries have no such limit (nvme_set_ctrl_limits).
    dma.limits.maxSegmentSize = 2 ** 32 - 1;
    this.useSgl('none');
  }

  /** Whether commands use SGLs where they save a list. */
  useSgl(sgl: SglSupport): void {
    this.#sgl = sgl;
    // For PRPs and for some SGLs, memory that starts inside a dword has to be copied (Base 2.0, 4.1.1).
    this.dma.limits.dmaAlignment = sgl === 'bytes' ? 0 : 3;
  }

  /** No memory is mapped any more. */
  close(): void {
    this.pages.close();
  }

  /**
   * Maps memory for a command. If it is the device's own memory, of which no copies are made, the result may serve
   * many commands, one after the other. @throws DmaError the errors of `DmaDevice.mapSingle` and `mapSg`
   */
  lend(payload: Payload, direction: DmaDirection): Lent {
    const { dma } = this;
    return new Lent(
      this,
      isView(payload) ? dma.mapSingle(payload, direction) : dma.mapSg(payload, direction),
    );
  }

  /**
   * As `lend`, for a command that is sure to end: `done` unmaps the memory. Returns undefined if a resource is
   * missing now that other commands have, in any queue. `again` is called once, when one of them is done.
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

  /** True if the controller can take a list of views without a copy. */
  takesList(views: readonly ArrayBufferView[]): boolean {
    if (this.#sgl === 'none' || views.length > mostDescriptors(this.pages.size)) return false;
    if (views.some(({ byteLength }) => byteLength === 0)) return false;
    return this.#sgl === 'bytes' || views.every(({ byteLength }) => byteLength % 4 === 0);
  }

  /**
   * The bytes of this memory that one command can have. Memory that has to be copied goes through slots of a limited
   * size.
   */
  longest(payload: Payload): number {
    const { dmaAlignment, maxAlignedMappingSize, maxBounceSize } = this.dma.limits;
    const views = isView(payload) ? [payload] : payload;
    const aligned = views.every(({ byteOffset }) => (byteOffset & dmaAlignment) === 0);
    return aligned ? maxAlignedMappingSize : maxBounceSize;
  }

  /** PRPs describe two pages without a list, and an SGL describes one piece without a list. */
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

/** Room to bounce, addresses, mappings or locked memory: there is more of them when a command ends. */
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
