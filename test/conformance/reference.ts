/**
 * The reference for random operations: the bytes that the CPU must find in each piece of memory, and the bytes that the
 * device must find in each mapping. It does not know how the library makes them so.
 *
 *      unit    memory that a driver has                            `cpu`: the bytes that the CPU must find
 *      part    a slice of a unit that is mapped                    `device`: the bytes that the device must find
 *      lease   a mapping: one part, or the parts of a list         positions run through all parts
 *
 * Bytes that are in place are not in `device`. They are in `cpu` if CPU and device see each other's writes at once.
 * Otherwise they are in `memory`, which all mappings of them share.
 */
import type { DmaDirection, StreamingMapping } from '../../lib/index.ts';
import { reads, writes } from './bytes.ts';

export interface Unit {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly cpu: Uint8Array;
  /** The bytes in place that devices see, if they do not see the CPU's caches. */
  readonly memory: Uint8Array;
  /** The device address of the device's own memory; undefined for other memory. */
  readonly address: bigint | undefined;
  /** The direction that it was allocated for. */
  readonly allows: DmaDirection;
  /** True if CPU and device see each other's writes to bytes in place at once. */
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
  /** The bytes that the device sees where the part is copied. */
  readonly device: Uint8Array;
  /** Bytes [sharedFrom, sharedTo) of the part are in place: the device has the memory itself. */
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
  /** Bytes [cpuFrom, cpuTo) are synced for the CPU. There are none if both are 0. */
  cpuFrom = 0;
  cpuTo = 0;
  /** 1 for each byte that the device wrote since it was last synced. */
  readonly wrote: Uint8Array;
  /** True if the driver ever synced bytes that the device wrote. */
  looked = false;
  /** True if the driver synced bytes for the device that were not synced for the CPU. */
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

  /** True if it has a byte of the unit in [offset, offset + size). */
  covers(unit: Unit, offset: number, size: number): boolean {
    return this.parts.some(
      (part) => part.unit === unit && part.offset < offset + size && part.offset + part.size > offset,
    );
  }

  get isList(): boolean {
    return this.parts.length > 1;
  }

  /** The bytes that the device must find in [from, to). */
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
    // The CPU's writes leave its caches in every direction (arch_sync_dma_for_device on arm64).
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

/** The bytes in place, as the device sees them. */
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

/** The CPU's writes to bytes in place reach the memory. */
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
