/**
 * The reference that random operations are held to: for every piece of memory what the CPU must find there, and for
 * every mapping what the device must find. It knows nothing of how either is brought about.
 *
 *      unit    memory that a driver has                            `cpu`: what its bytes must be
 *      part    a slice of a unit that is mapped                    `device`: what the device must see of it
 *      lease   a mapping: one part, or the parts of a list         positions run through all parts
 *
 * Bytes of a part that CPU and device both see at once are in `cpu` only.
 */
import type { DmaDirection, StreamingMapping } from '../../lib/index.ts';
import { reads, writes } from './bytes.ts';

export interface Unit {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly cpu: Uint8Array;
  /** The device's own memory: where it lies for the device. */
  readonly address: bigint | undefined;
  /** Directions it was allocated for. */
  readonly allows: DmaDirection;
  /** Whether CPU and device see each other's writes at once when the device is given the memory itself. */
  readonly coherent: boolean;
  free?(): void;
}

/** Bytes of a unit. */
export interface Slice {
  readonly unit: Unit;
  readonly offset: number;
  readonly size: number;
}

export interface Part extends Slice {
  /** What the device sees, where that is not `unit.cpu`. */
  readonly device: Uint8Array;
  /** [from, to) of the part is the same memory for both. */
  readonly sharedFrom: number;
  readonly sharedTo: number;
}

/** A contiguous range of device addresses. */
export interface Run {
  readonly address: bigint;
  readonly length: number;
}

export type Handle = Pick<StreamingMapping, 'unmap' | 'syncForCpu' | 'syncForDevice'>;

export class Lease {
  readonly handle: Handle;
  readonly parts: readonly Part[];
  readonly runs: readonly Run[];
  readonly direction: DmaDirection;
  readonly skips: boolean;
  readonly size: number;
  /** What was taken back for the CPU, [from, to); nothing when both are 0. */
  cpuFrom = 0;
  cpuTo = 0;

  constructor(
    handle: Handle,
    parts: readonly Part[],
    runs: readonly Run[],
    direction: DmaDirection,
    skips: boolean,
  ) {
    this.handle = handle;
    this.parts = parts;
    this.runs = runs;
    this.direction = direction;
    this.skips = skips;
    this.size = parts.reduce((sum, part) => sum + part.size, 0);
  }

  get isList(): boolean {
    return this.parts.length > 1;
  }

  /** What the device must see of [from, to). */
  seen(from: number, to: number): Uint8Array {
    const bytes = new Uint8Array(to - from);
    this.#each(from, to, (part, start, end, position) => {
      const { unit, offset, device, sharedFrom, sharedTo } = part;
      bytes.set(device.subarray(start, end), position - from);
      const [low, high] = [Math.max(start, sharedFrom), Math.min(end, sharedTo)];
      if (low < high)
        bytes.set(unit.cpu.subarray(offset + low, offset + high), position - from + low - start);
    });
    return bytes;
  }

  /** The device wrote `bytes` at `from`. */
  written(from: number, bytes: Uint8Array): void {
    this.#each(from, from + bytes.length, (part, start, end, position) => {
      const { unit, offset, device, sharedFrom, sharedTo } = part;
      const piece = bytes.subarray(position - from, position - from + end - start);
      device.set(piece, start);
      const [low, high] = [Math.max(start, sharedFrom), Math.min(end, sharedTo)];
      if (low < high) unit.cpu.set(piece.subarray(low - start, high - start), offset + low);
    });
  }

  syncedForCpu(from: number, to: number): void {
    if (writes(this.direction)) this.#each(from, to, copyToCpu);
  }

  syncedForDevice(from: number, to: number): void {
    if (reads(this.direction)) this.#each(from, to, copyToDevice);
  }

  unmapped(): void {
    if (!this.skips) this.syncedForCpu(0, this.size);
  }

  /** The pieces of [from, to): of each part that it touches [start, end), and the position of its first byte. */
  #each(
    from: number,
    to: number,
    visit: (part: Part, start: number, end: number, position: number) => void,
  ): void {
    let base = 0;
    for (const part of this.parts) {
      const start = Math.max(from - base, 0);
      const end = Math.min(to - base, part.size);
      if (start < end) visit(part, start, end, base + start);
      base += part.size;
    }
  }
}

/** A part as it is when it has just been mapped: the device sees what the CPU sees. */
export function newPart(
  unit: Unit,
  offset: number,
  size: number,
  sharedFrom: number,
  sharedTo: number,
): Part {
  return { unit, offset, size, sharedFrom, sharedTo, device: unit.cpu.slice(offset, offset + size) };
}

function copyToCpu({ unit, offset, device, sharedFrom, sharedTo }: Part, start: number, end: number): void {
  eachCopied(start, end, sharedFrom, sharedTo, (low, high) =>
    unit.cpu.set(device.subarray(low, high), offset + low),
  );
}

function copyToDevice(
  { unit, offset, device, sharedFrom, sharedTo }: Part,
  start: number,
  end: number,
): void {
  eachCopied(start, end, sharedFrom, sharedTo, (low, high) =>
    device.set(unit.cpu.subarray(offset + low, offset + high), low),
  );
}

/** The pieces of [start, end) on both sides of [sharedFrom, sharedTo). */
function eachCopied(
  start: number,
  end: number,
  sharedFrom: number,
  sharedTo: number,
  copy: (low: number, high: number) => void,
): void {
  const before = Math.min(end, sharedFrom);
  if (start < before) copy(start, before);
  const behind = Math.max(start, sharedTo);
  if (behind < end) copy(behind, end);
}
