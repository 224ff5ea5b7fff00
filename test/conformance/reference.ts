/**
 * The reference that random operations are held to: for every piece of memory what the CPU must find there, and for
 * every mapping what the device must find. It knows nothing of how either is brought about.
 *
 *      unit    memory that a driver has                            `cpu`: what its bytes must be
 *      part    a slice of a unit that is mapped                    `device`: what the device must see of it
 *      lease   a mapping: one part, or the parts of a list         positions run through all parts
 *
 * Bytes of a part that are in place are in no part: in `cpu` where CPU and device both see them at once, else in
 * `memory`, which every mapping of them shares.
 */
import type { DmaDirection, StreamingMapping } from '../../lib/index.ts';
import { reads, writes } from './bytes.ts';

export interface Unit {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly cpu: Uint8Array;
  /** What devices see of bytes in place, where they do not see the CPU's caches. */
  readonly memory: Uint8Array;
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
  /** [from, to) of the part is in place: the device has the memory itself. */
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
  /** The device that has it: 0, or 1 for a second one. */
  readonly device: number;
  readonly handle: Handle;
  readonly parts: readonly Part[];
  readonly runs: readonly Run[];
  readonly direction: DmaDirection;
  readonly skips: boolean;
  readonly size: number;
  /** What was taken back for the CPU, [from, to); nothing when both are 0. */
  cpuFrom = 0;
  cpuTo = 0;
  /** Which bytes the device wrote since they were last synced: 1 for each. */
  readonly wrote: Uint8Array;
  /** Whether the driver ever looked at what the device wrote. */
  looked = false;
  /** Whether the driver gave bytes to the device that it had not taken back before. */
  mistaken = false;

  constructor(
    device: number,
    handle: Handle,
    parts: readonly Part[],
    runs: readonly Run[],
    direction: DmaDirection,
    skips: boolean,
  ) {
    this.device = device;
    this.handle = handle;
    this.parts = parts;
    this.runs = runs;
    this.direction = direction;
    this.skips = skips;
    this.size = parts.reduce((sum, part) => sum + part.size, 0);
    this.wrote = new Uint8Array(this.size);
    if (!skips) for (const part of parts) copyToMemory(part, 0, part.size);
  }

  /** Whether it has a byte of the unit in [offset, offset + size). */
  covers(unit: Unit, offset: number, size: number): boolean {
    return this.parts.some(
      (part) => part.unit === unit && part.offset < offset + size && part.offset + part.size > offset,
    );
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
        bytes.set(placeOf(unit).subarray(offset + low, offset + high), position - from + low - start);
    });
    return bytes;
  }

  /** The device wrote `bytes` at `from`. */
  written(from: number, bytes: Uint8Array): void {
    this.wrote.fill(1, from, from + bytes.length);
    this.#each(from, from + bytes.length, (part, start, end, position) => {
      const { unit, offset, device, sharedFrom, sharedTo } = part;
      const piece = bytes.subarray(position - from, position - from + end - start);
      device.set(piece, start);
      const [low, high] = [Math.max(start, sharedFrom), Math.min(end, sharedTo)];
      if (low < high) placeOf(unit).set(piece.subarray(low - start, high - start), offset + low);
    });
  }

  syncedForCpu(from: number, to: number): void {
    this.looked ||= this.wrote.includes(1);
    this.wrote.fill(0, from, to);
    if (writes(this.direction)) this.#each(from, to, copyToCpu);
  }

  syncedForDevice(from: number, to: number): void {
    this.wrote.fill(0, from, to);
    // What the CPU wrote leaves its caches in every direction (arch_sync_dma_for_device on arm64).
    this.#each(from, to, reads(this.direction) ? copyToDevice : copyToMemory);
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

/** Where bytes are that are in place. */
function placeOf(unit: Unit): Uint8Array {
  return unit.coherent ? unit.cpu : unit.memory;
}

function copyToCpu({ unit, offset, device, sharedFrom, sharedTo }: Part, start: number, end: number): void {
  eachCopied(start, end, sharedFrom, sharedTo, (low, high) =>
    unit.cpu.set(device.subarray(low, high), offset + low),
  );
  const [low, high] = [Math.max(start, sharedFrom) + offset, Math.min(end, sharedTo) + offset];
  if (low < high) unit.cpu.set(placeOf(unit).subarray(low, high), low);
}

function copyToDevice(part: Part, start: number, end: number): void {
  const { unit, offset, device, sharedFrom, sharedTo } = part;
  eachCopied(start, end, sharedFrom, sharedTo, (low, high) =>
    device.set(unit.cpu.subarray(offset + low, offset + high), low),
  );
  copyToMemory(part, start, end);
}

/** What the CPU wrote to bytes in place reaches the memory. */
function copyToMemory({ unit, offset, sharedFrom, sharedTo }: Part, start: number, end: number): void {
  const [low, high] = [Math.max(start, sharedFrom) + offset, Math.min(end, sharedTo) + offset];
  if (low < high) placeOf(unit).set(unit.cpu.subarray(low, high), low);
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
