/**
 * The target of a mapping of a simulated IOMMU: memory, or the registers of a function. Offsets count from the first
 * byte of the mapping.
 */
import { DmaError } from '../errors.ts';
import type { MmioWindow, ReservedBytes } from './address-space.ts';
import { FAULT } from './fault.ts';

export interface Target {
  /** The number of bytes, from the first one on, that have memory or registers behind them. */
  readonly length: number;
  /** The reason why nothing answers now, one of `FAULT`; '' if the target answers. */
  readonly refusal: string;
  /** The bytes are inside `length`. Called only if there is no refusal. */
  read(offset: number, into: Uint8Array): void;
  write(offset: number, from: Uint8Array): void;
}

/** Up to this size bytes are moved one by one, because that is faster than `set`. */
const FEW = 16;
/** The most views of a mapping to keep. They exist because `set` needs a view as its source. */
const MOST_VIEWS = 16_384;

/** The bytes of a buffer that are mapped and exist. */
export class MemoryTarget implements Target {
  readonly length: number;
  /** The bytes as the CPU sees them; empty after the buffer was detached. */
  readonly #memory: Uint8Array;
  /** The bytes as the device sees them. */
  readonly #bytes: Uint8Array;
  /**
   * Parts of `#bytes`, keyed by their start. Each has the size that the device last read there. Devices read the same
   * descriptors and pages again and again.
   */
  #views: Map<number, Uint8Array> | undefined;

  constructor(memory: Uint8Array, bytes: Uint8Array) {
    this.#memory = memory;
    this.#bytes = bytes;
    this.length = bytes.length;
  }

  get refusal(): string {
    return this.#memory.length < this.length ? FAULT.detached : '';
  }

  read(offset: number, into: Uint8Array): void {
    const bytes = this.#bytes;
    const size = into.length;
    if (size <= FEW) {
      for (let i = 0; i < size; i++) into[i] = bytes[offset + i]!;
    } else into.set(this.#view(offset, size));
  }

  write(offset: number, from: Uint8Array): void {
    this.#bytes.set(from, offset);
  }

  #view(at: number, size: number): Uint8Array {
    this.#views ??= new Map();
    const found = this.#views.get(at);
    if (found !== undefined && found.length === size) return found;
    const view = this.#bytes.subarray(at, at + size);
    if (found !== undefined || this.#views.size < MOST_VIEWS) this.#views.set(at, view);
    return view;
  }
}

/** The widths at which bytes move to and from registers. */
export type RegisterWidth = 1 | 2 | 4;

/** Registers of a simulated function, as a target for the DMA of any function. Values are unsigned. */
export abstract class SimulatedRegisters implements MmioWindow {
  abstract readonly size: number;
  abstract readonly reserved: readonly ReservedBytes[];
  /** True if the function was closed. */
  abstract readonly closed: boolean;
  /** True if the function answers accesses: memory decode is on. */
  abstract readonly decodes: boolean;
  /** Reads the model's register at a multiple of `width`. */
  abstract read(offset: number, width: RegisterWidth): number;
  abstract write(offset: number, width: RegisterWidth, value: number): void;
}

/**
 * The registers behind a window, if bytes [offset, offset + size) of it can be mapped.
 * @throws DmaError as AddressSpace.mapWindow
 */
export function registersBehind(window: MmioWindow, offset: number, size: number): SimulatedRegisters {
  if (!(window instanceof SimulatedRegisters)) {
    throw new DmaError('EREMOTEIO', 'these are not the registers of a simulated function', {
      remedy: 'simulate both functions, or neither',
    });
  }
  if (window.closed) {
    throw new DmaError('ENODEV', 'the function whose registers these are is closed', {
      remedy: 'open it again, and take its BAR from there',
    });
  }
  if (!(offset >= 0 && size <= window.size - offset)) {
    throw new DmaError('EINVAL', `no ${size} bytes at offset ${offset} of registers of ${window.size}`, {
      remedy: 'stay inside the BAR',
    });
  }
  if (window.decodes) return window;
  throw new DmaError('EFAULT', 'the function whose registers these are does not answer', {
    remedy: 'enable memory decode (command register bit 1)',
  });
}

/** The registers from `offset` on, as a target. */
export class RegisterTarget implements Target {
  readonly length: number;
  readonly #registers: SimulatedRegisters;
  readonly #offset: number;

  constructor(registers: SimulatedRegisters, offset: number) {
    this.#registers = registers;
    this.#offset = offset;
    this.length = registers.size - offset;
  }

  get refusal(): string {
    return this.#registers.closed || !this.#registers.decodes ? FAULT.noAnswer : '';
  }

  /** Values are little-endian on the bus. */
  read(offset: number, into: Uint8Array): void {
    const view = viewOf(into);
    eachAccess(this.#offset + offset, into.length, (at, done, width) => {
      const value = this.#registers.read(at, width);
      if (width === 4) view.setUint32(done, value, true);
      else if (width === 2) view.setUint16(done, value, true);
      else view.setUint8(done, value);
    });
  }

  write(offset: number, from: Uint8Array): void {
    const view = viewOf(from);
    eachAccess(this.#offset + offset, from.length, (at, done, width) => {
      if (width === 4) this.#registers.write(at, width, view.getUint32(done, true));
      else if (width === 2) this.#registers.write(at, width, view.getUint16(done, true));
      else this.#registers.write(at, width, view.getUint8(done));
    });
  }
}

/** The widest naturally aligned accesses that make up [start, start + size), as a bus splits a transfer. */
function eachAccess(
  start: number,
  size: number,
  access: (at: number, done: number, width: RegisterWidth) => void,
): void {
  for (let done = 0; done < size; ) {
    const at = start + done;
    const left = size - done;
    const width = at % 4 === 0 && left >= 4 ? 4 : at % 2 === 0 && left >= 2 ? 2 : 1;
    access(at, done, width);
    done += width;
  }
}

function viewOf({ buffer, byteOffset, length }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, length);
}
