/**
 * The bounce buffer (kernel/dma/swiotlb.c): memory that the device can always reach, through which go the bytes of
 * memory that it cannot.
 *
 *      caller's bytes   [~~~~~~ size ~~~~~~]
 *                          |  in: at map        ^  out: at unmap, by direction
 *                          v                    |
 *      run of slots     [0000|~~~~~~ size ~~~~~~|00000000]     zeros around it, pad keeps the low address bits
 *
 * Memory comes in chunks, when it is needed, each mapped until the end; only one that a narrower mask left unused is
 * given up, when there is no room for another. Nothing is allocated for a mapping: runs and views of them are kept and
 * used again. What the device finds around the bytes is zeros, or what it wrote itself.
 */

import { checkSize } from '../../arguments.ts';
import type { CacheMaintenance } from '../../cache.ts';
import { DmaError } from '../../errors.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import type { DmaOperations } from '../operations/operations.ts';
import { BounceSlots, SLOT_SHIFT, SLOT_SIZE } from './slots.ts';

/** Default of `total`: swiotlb's 64 MiB, and no more than a quarter of all that the device can reach. */
const TOTAL = 64 * 2 ** 20;
/** Default of `maxMapping`: swiotlb's 128 slots (IO_TLB_SEGSIZE). */
const MAX_MAPPING = 128 * SLOT_SIZE;
/** Bytes of a chunk, unless one mapping may be longer. */
const CHUNK = 2 * 2 ** 20;
/** What a slot number can address. */
const MAX_TOTAL = 2 ** 20 * SLOT_SIZE;

export interface BounceOptions {
  /**
   * Bytes that may be bounced at once, rounding included. Default 64 MiB, as swiotlb has, or a quarter of what the
   * device can reach.
   */
  readonly total?: number;
  /** Bytes of the longest bounced mapping. Default 256 KiB, as swiotlb has. */
  readonly maxMapping?: number;
  /** Bounce everything, also what the device could reach (swiotlb=force). Default false. */
  readonly force?: boolean;
}

export interface BounceStats {
  /** Bytes of a slot. */
  readonly slotSize: number;
  /** Slots there may be at most. */
  readonly totalSlots: number;
  /** Slots that have memory behind them. */
  readonly backedSlots: number;
  readonly usedSlots: number;
  /** Most slots that were ever used at once. */
  readonly peakSlots: number;
  /** Mappings that went through the bounce buffer. */
  readonly maps: number;
  /** Bytes copied to the device's side, and back. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Mappings that found no room. */
  readonly failures: number;
}

/** Indices of the counters. */
const MAPS = 0;
const BYTES_IN = 1;
const BYTES_OUT = 2;
const FAILURES = 3;

export class BounceBuffer {
  /** Bytes of the longest mapping. */
  readonly maxMapping: number;

  private readonly operations: DmaOperations;
  private readonly cache: CacheMaintenance | undefined;
  private readonly slots: BounceSlots;
  private readonly chunks: number;
  private readonly chunkSize: number;
  private readonly chunkShift: number;
  private readonly chunkMask: number;
  private readonly arenas: Uint8Array[] = [];
  /** Infinity: the chunk has no memory any more. */
  private readonly addresses: number[] = [];
  private readonly allocations: (DeviceRange | undefined)[] = [];
  /** Per first slot of a run: bytes from there on that may not be zero. */
  private readonly dirty: Int32Array;
  /** Per first slot of a run: the view that was last copied out whole, and the one that was copied out in part. */
  private readonly wholes: (Uint8Array | undefined)[] = [];
  private readonly parts: (Uint8Array | undefined)[] = [];
  private readonly wholeAt: Int32Array;
  private readonly partAt: Int32Array;
  private readonly counters = new Float64Array(4);
  private limit: number;

  /**
   * @param limit highest address of the slots handed out
   * @param cache of a device that is not coherent
   * @throws DmaError EINVAL for options that are no sizes
   */
  constructor(
    operations: DmaOperations,
    limit: number,
    { total = defaultTotal(operations), maxMapping = Math.min(MAX_MAPPING, total) }: BounceOptions,
    cache?: CacheMaintenance,
  ) {
    checkSize(total, 'bounce.total', MAX_TOTAL);
    checkSize(maxMapping, 'bounce.maxMapping', total);
    this.operations = operations;
    this.cache = cache;
    this.limit = limit;
    this.chunkSize =
      2 ** Math.max(SLOT_SHIFT, Math.min(log2Up(Math.max(CHUNK, maxMapping)), log2Down(total)));
    this.chunks = Math.max(1, Math.floor(total / this.chunkSize));
    this.maxMapping = Math.min(maxMapping, this.chunkSize);
    this.chunkShift = Math.log2(this.chunkSize) - SLOT_SHIFT;
    this.chunkMask = 2 ** this.chunkShift - 1;
    this.slots = new BounceSlots(this.chunks, this.chunkMask + 1);
    const slots = this.chunks << this.chunkShift;
    this.dirty = new Int32Array(slots);
    this.wholeAt = new Int32Array(slots);
    this.partAt = new Int32Array(slots);
  }

  get stats(): BounceStats {
    const { slots, counters } = this;
    return {
      slotSize: SLOT_SIZE,
      totalSlots: this.chunks << this.chunkShift,
      backedSlots: this.allocations.filter((one) => one !== undefined).length << this.chunkShift,
      usedSlots: slots.used,
      peakSlots: slots.peak,
      maps: counters[MAPS]!,
      bytesIn: counters[BYTES_IN]!,
      bytesOut: counters[BYTES_OUT]!,
      failures: counters[FAILURES]!,
    };
  }

  /** Highest address of the slots handed out from now on. */
  setLimit(limit: number): void {
    this.limit = limit;
    for (let chunk = 0; chunk < this.arenas.length; chunk++) {
      if (this.addresses[chunk]! + this.chunkSize - 1 <= limit) this.slots.openChunk(chunk);
      else this.slots.closeChunk(chunk);
    }
  }

  /**
   * A run of slots for `size` bytes that start `pad` bytes into it, zeros around them; `align` is a power of two that
   * the run is aligned to at least. Returns its first slot.
   * @throws DmaError ENOMEM
   */
  take(size: number, pad: number, align: number): number {
    const end = pad + size;
    const order = this.slots.classOf(Math.max(end, align));
    let slot = this.slots.take(order);
    if (slot < 0) slot = this.takeFresh(order, size);
    const dirty = this.dirty[slot]!;
    if (dirty > end || pad > 0) this.clear(slot, pad, end, dirty);
    this.dirty[slot] = end;
    this.counters[MAPS]!++;
    return slot;
  }

  /** Give a run back. Nothing is copied. */
  give(slot: number): void {
    this.slots.give(slot);
  }

  /** The same when whoever has it next must not even find what the device wrote beside its bytes. */
  giveSoiled(slot: number): void {
    this.dirty[slot] = this.slots.runOf(slot) * SLOT_SIZE;
    this.slots.give(slot);
  }

  /** Device address of the first byte of a slot. */
  address(slot: number): number {
    return this.addresses[slot >>> this.chunkShift]! + ((slot & this.chunkMask) << SLOT_SHIFT);
  }

  /** Whether a device address is in one of the slots, taken or not. */
  holds(address: number): boolean {
    return this.addresses.some((start) => address >= start && address < start + this.chunkSize);
  }

  /** The memory that a slot is in. */
  arena(slot: number): Uint8Array {
    return this.arenas[slot >>> this.chunkShift]!;
  }

  /** Where in that memory it starts. */
  arenaOffset(slot: number): number {
    return (slot & this.chunkMask) << SLOT_SHIFT;
  }

  /** All bytes of `source` to byte `at` of a run. */
  copyIn(slot: number, at: number, source: Uint8Array): void {
    this.arena(slot).set(source, this.arenaOffset(slot) + at);
    this.counters[BYTES_IN]! += source.length;
  }

  /** `size` bytes at byte `at` of a run, all of the mapping, to the start of `target`. */
  copyOut(slot: number, at: number, size: number, target: Uint8Array): void {
    let view = this.wholes[slot];
    if (view === undefined || view.length !== size || this.wholeAt[slot] !== at) {
      view = this.view(slot, at, size);
      this.wholes[slot] = view;
      this.wholeAt[slot] = at;
    }
    target.set(view);
    this.counters[BYTES_OUT]! += size;
  }

  /** `size` bytes at byte `at` of a run to byte `offset` of `target`. */
  copyOutPart(slot: number, at: number, size: number, target: Uint8Array, offset: number): void {
    let view = this.parts[slot];
    if (view === undefined || view.length !== size || this.partAt[slot] !== at) {
      view = this.view(slot, at, size);
      this.parts[slot] = view;
      this.partAt[slot] = at;
    }
    target.set(view, offset);
    this.counters[BYTES_OUT]! += size;
  }

  /** Bytes were copied to the device's side and back by somebody else. */
  countCopied(bytesIn: number, bytesOut: number): void {
    this.counters[BYTES_IN]! += bytesIn;
    this.counters[BYTES_OUT]! += bytesOut;
  }

  /** The failure of a mapping that finds no room; counted. */
  refuse(size: number, why: string, cause?: unknown): DmaError {
    this.counters[FAILURES]!++;
    const { totalSlots, usedSlots } = this.stats;
    const room = `total ${totalSlots} slots of ${SLOT_SIZE} bytes, used ${usedSlots}`;
    return new DmaError('ENOMEM', `cannot bounce ${size} bytes (${room}): ${why}`, {
      remedy: 'unmap something, map less at once, or raise bounce.total or bounce.maxMapping',
      cause,
    });
  }

  private view(slot: number, at: number, size: number): Uint8Array {
    const offset = this.arenaOffset(slot) + at;
    return this.arena(slot).subarray(offset, offset + size);
  }

  private clear(slot: number, pad: number, end: number, dirty: number): void {
    const arena = this.arena(slot);
    const offset = this.arenaOffset(slot);
    if (pad > 0) this.zero(arena, offset, offset + pad);
    if (dirty > end) this.zero(arena, offset + end, offset + dirty);
  }

  /** For the device too, which would find what was there before if the zeros stayed in the CPU's cache. */
  private zero(arena: Uint8Array, start: number, end: number): void {
    arena.fill(0, start, end);
    this.cache?.syncForDevice(arena.buffer, start, end - start, 'to-device');
  }

  private takeFresh(order: number, size: number): number {
    let slot = this.slots.takeFresh(order);
    while (slot < 0) {
      this.grow(size);
      slot = this.slots.takeFresh(order);
    }
    this.dirty[slot] = SLOT_SIZE << order;
    return slot;
  }

  private grow(size: number): void {
    const chunk = this.arenas.length < this.chunks ? this.arenas.length : this.slots.unusedChunk();
    if (chunk < 0) throw this.refuse(size, 'it is full');
    this.giveUp(chunk);
    let added: DeviceRange;
    try {
      added = this.operations.allocate(this.chunkSize, this.limit, 'read-write', 'noncoherent');
    } catch (cause) {
      throw this.refuse(size, 'no memory under the DMA mask', cause);
    }
    this.allocations[chunk] = added;
    this.arenas[chunk] = new Uint8Array(added.buffers[0]!);
    this.addresses[chunk] = added.address;
    const first = chunk << this.chunkShift;
    for (let slot = first; slot <= first + this.chunkMask; slot++) {
      this.wholes[slot] = undefined;
      this.parts[slot] = undefined;
    }
    this.slots.openChunk(chunk);
  }

  /** The memory of a closed chunk with no run taken, if it has any. */
  private giveUp(chunk: number): void {
    const allocation = this.allocations[chunk];
    if (allocation === undefined) return;
    this.allocations[chunk] = undefined;
    this.addresses[chunk] = Number.POSITIVE_INFINITY;
    this.operations.release(allocation);
  }
}

function defaultTotal({ capacity }: DmaOperations): number {
  return Math.min(TOTAL, 2 ** Math.max(SLOT_SHIFT, log2Down(capacity / 4)));
}

function log2Up(value: number): number {
  return Math.ceil(Math.log2(value));
}

function log2Down(value: number): number {
  return Math.floor(Math.log2(value));
}
