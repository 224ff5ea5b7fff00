/**
 * The bounce buffer (kernel/dma/swiotlb.c): memory that the device can always reach. The bytes of memory that
 * the device cannot reach are copied through it.
 *
 *      caller's bytes   [~~~~~~ size ~~~~~~]
 *                          |  in: at map        ^  out: at unmap, by direction
 *                          v                    |
 *      run of slots     [0000|~~~~~~ size ~~~~~~|00000000]     zeros around it, pad keeps the low address bits
 *
 * Memory comes in chunks, when it is needed: as large as the room under the mask suggests, and where there is not so
 * much left, half of that, down to one granule. A chunk with no run taken goes back when something else needs the room
 * (`shrink`). Nothing is allocated for a mapping: runs and views of them are kept and used again. Around its bytes the
 * device finds zeros, or what it wrote there itself.
 */

import { checkSize } from '../../arguments.ts';
import type { CacheMaintenance } from '../../cache.ts';
import { DmaError } from '../../errors.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import type { DmaOperations } from '../operations/operations.ts';
import { isNoMemory } from '../operations/shrinkers.ts';
import { BounceChunk } from './chunk.ts';
import { largestBlock, roomBelow } from './room.ts';
import { BounceSlots, SLOT_SHIFT, SLOT_SIZE } from './slots.ts';

/** Default of `total`: swiotlb's 64 MiB, and no more than a quarter of all that the device can reach. */
const TOTAL = 64 * 2 ** 20;
/** Default of `maxMapping`: swiotlb's 128 slots (IO_TLB_SEGSIZE). */
const MAX_MAPPING = 128 * SLOT_SIZE;
/** Bytes of a chunk, unless one mapping may be longer or there is little room. */
const CHUNK = 2 * 2 ** 20;
/** A chunk is no more than this part of what there is under the mask, unless one mapping needs it. */
const SHARE = 4;
/** Bytes that slot numbers can address. */
const MAX_TOTAL = 2 ** 20 * SLOT_SIZE;

/** Options of the bounce buffer (swiotlb). */
export interface BounceOptions {
  /**
   * Bytes that may be bounced at once, rounding included. Default 64 MiB, as swiotlb has, or a quarter of what the
   * device can reach.
   */
  readonly total?: number;
  /** Bytes of the longest bounced mapping. Default 256 KiB, as swiotlb has. */
  readonly maxMapping?: number;
  /** Bounce all memory, even if the device can reach it (swiotlb=force). Default false. */
  readonly force?: boolean;
  /**
   * 'strict' gives the device each bounced mapping by itself, whole pages of it, by its direction, from map to unmap, as
   * the kernel does for a device that it does not trust. That costs two calls of the IOMMU. Default 'fast': all slots stay
   * mapped.
   */
  readonly isolation?: 'fast' | 'strict';
}

/** Counts of the bounce buffer, since the device was opened. */
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

/** The bounce buffer of one device. */
export class BounceBuffer {
  /** Bytes of the longest mapping that there is ever room for under the mask. */
  maxMapping = 0;

  protected readonly operations: DmaOperations;
  private readonly cache: CacheMaintenance | undefined;
  private readonly slots: BounceSlots;
  /** Bytes of the longest mapping, whatever the mask. */
  private readonly longest: number;
  /** Order of a chunk where there is room enough, and below which none is worth its granule. */
  private readonly usualOrder: number;
  private readonly leastOrder: number;
  /** Order of the next chunk under this mask. */
  private order = 0;
  /** Per slot: the place of its chunk. */
  private readonly places: Int32Array;
  private readonly chunks: (BounceChunk | undefined)[] = [];
  private readonly counters = new Float64Array(4);
  private limit = 0;
  private growing = false;

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
    const slots = Math.max(1, Math.floor(total / SLOT_SIZE));
    const whole = log2Down(slots);
    this.slots = new BounceSlots(slots);
    this.places = new Int32Array(slots);
    this.usualOrder = Math.min(log2Up(Math.max(CHUNK, maxMapping)) - SLOT_SHIFT, whole);
    this.leastOrder = Math.min(Math.max(0, log2Up(operations.granule) - SLOT_SHIFT), whole);
    this.longest = Math.min(maxMapping, 2 ** (whole + SLOT_SHIFT));
    this.setLimit(limit);
    operations.shrinkers.add(this.shrink);
  }

  get stats(): BounceStats {
    const { slots, counters } = this;
    return {
      slotSize: SLOT_SIZE,
      totalSlots: slots.total,
      backedSlots: this.chunks.reduce((sum, chunk) => sum + (chunk === undefined ? 0 : 2 ** chunk.order), 0),
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
    const { ranges, granule } = this.operations;
    this.limit = limit;
    for (const chunk of this.chunks) {
      if (chunk === undefined) continue;
      if (chunk.address + chunk.size - 1 <= limit) this.slots.openChunk(chunk.first, chunk.order);
      else this.slots.closeChunk(chunk.first, chunk.order);
    }
    const share = Math.max(SLOT_SIZE, roomBelow(ranges, granule, limit) / SHARE);
    this.order = Math.max(this.leastOrder, Math.min(this.usualOrder, log2Down(share) - SLOT_SHIFT));
    this.maxMapping = Math.min(this.longest, largestBlock(ranges, granule, limit));
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
    const chunk = this.chunkOf(slot);
    const dirty = chunk.dirtyFrom(slot);
    if (dirty > end || pad > 0) this.clear(chunk, slot, pad, end, dirty);
    chunk.soil(slot, end);
    this.counters[MAPS]!++;
    return slot;
  }

  /** Free a run. Nothing is copied. */
  give(slot: number): void {
    this.slots.give(slot);
  }

  /**
   * As `give`, but the whole run is cleared before it is used again: the device may have written beside the mapping's
   * bytes.
   */
  giveSoiled(slot: number): void {
    this.chunkOf(slot).soil(slot, this.slots.runOf(slot) * SLOT_SIZE);
    this.slots.give(slot);
  }

  /** The chunk that a taken slot is in, for as long as the slot is taken. */
  chunkOf(slot: number): BounceChunk {
    return this.chunks[this.places[slot]!]!;
  }

  /** Whether a device address is in one of the slots, taken or not. */
  holds(address: number): boolean {
    return this.chunks.some(
      (chunk) => chunk !== undefined && address >= chunk.address && address < chunk.address + chunk.size,
    );
  }

  /** The memory that a slot is in. */
  arena(slot: number): Uint8Array {
    return this.chunkOf(slot).arena;
  }

  /** Where in that memory it starts. */
  arenaOffset(slot: number): number {
    return this.chunkOf(slot).offset(slot);
  }

  /** All bytes of `source` to byte `at` of a run. */
  copyIn(slot: number, at: number, source: Uint8Array): void {
    this.chunkOf(slot).copyIn(slot, at, source);
    this.counters[BYTES_IN]! += source.length;
  }

  /** `size` bytes at byte `at` of a run to byte `offset` of `target`. */
  copyOutPart(slot: number, at: number, size: number, target: Uint8Array, offset: number): void {
    target.set(this.chunkOf(slot).part(slot, at, size), offset);
    this.counters[BYTES_OUT]! += size;
  }

  /** Count bytes that other code has copied to the device's side (bounced.ts, copy-list.ts). */
  countIn(bytes: number): void {
    this.counters[BYTES_IN]! += bytes;
  }

  /** Count bytes that other code has copied back. */
  countOut(bytes: number): void {
    this.counters[BYTES_OUT]! += bytes;
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

  /** Free the memory of every chunk without a run in use; false when there is no such chunk. */
  readonly shrink = (): boolean => {
    let any = false;
    // A chunk that is being allocated for this buffer is no reason to free another chunk of it.
    for (let place = 0; place < this.chunks.length && !this.growing; place++) {
      const chunk = this.chunks[place];
      if (chunk === undefined || !this.slots.isUnused(chunk.first, chunk.order)) continue;
      this.slots.closeChunk(chunk.first, chunk.order);
      this.slots.giveRoom(chunk.first, chunk.order);
      this.chunks[place] = undefined;
      this.operations.release(chunk.allocation);
      any = true;
    }
    return any;
  };

  /** The device is closing: the memory goes with the operations. */
  close(): void {
    this.operations.shrinkers.delete(this.shrink);
  }

  /** Memory of a chunk. @throws DmaError as DmaOperations.allocate */
  protected allocate(size: number, limit: number): DeviceRange {
    return this.operations.allocate(size, limit, 'read-write', 'noncoherent');
  }

  private clear(chunk: BounceChunk, slot: number, pad: number, end: number, dirty: number): void {
    const offset = chunk.offset(slot);
    if (pad > 0) this.zero(chunk.arena, offset, offset + pad);
    if (dirty > end) this.zero(chunk.arena, offset + end, offset + dirty);
  }

  /** Clears bytes for the device too: if the zeros stayed in the CPU's cache, the device would read the old bytes. */
  private zero(arena: Uint8Array, start: number, end: number): void {
    // Lines that the CPU holds may be older than what the device wrote.
    this.cache?.syncForCpu(arena.buffer, start, end - start, 'from-device');
    arena.fill(0, start, end);
    this.cache?.syncForDevice(arena.buffer, start, end - start, 'to-device');
  }

  private takeFresh(order: number, size: number): number {
    let slot = this.slots.takeFresh(order);
    if (slot < 0) {
      this.grow(order, size);
      slot = this.slots.takeFresh(order);
    }
    this.chunkOf(slot).soil(slot, SLOT_SIZE << order);
    return slot;
  }

  /** One chunk more, of 2^order slots at least. */
  private grow(order: number, size: number): void {
    let trouble = this.tryToGrow(order);
    // Small chunks that nothing is in may stand where a larger one could be.
    if (trouble !== undefined && this.shrink()) trouble = this.tryToGrow(order);
    if (trouble !== undefined) throw this.refuse(size, trouble.why, trouble.cause);
  }

  /**
   * Adds a chunk of the usual size, or of half of it, and so on. Returns the error of the smallest one if none is
   * possible.
   */
  private tryToGrow(order: number): { readonly why: string; readonly cause?: unknown } | undefined {
    const least = Math.max(order, this.leastOrder);
    let cause: unknown;
    for (let wanted = Math.max(least, this.order); wanted >= least; wanted--) {
      const first = this.slots.takeRoom(wanted);
      if (first < 0) continue;
      try {
        this.addChunk(first, wanted);
        return undefined;
      } catch (error) {
        this.slots.giveRoom(first, wanted);
        cause = error;
        if (!isNoMemory(error)) break;
      }
    }
    return cause === undefined ? { why: 'it is full' } : { why: 'no memory under the DMA mask', cause };
  }

  private addChunk(first: number, order: number): void {
    let allocation: DeviceRange;
    const size = 2 ** (order + SLOT_SHIFT);
    this.growing = true;
    try {
      allocation = this.allocate(size, this.limit);
    } finally {
      this.growing = false;
    }
    const free = this.chunks.indexOf(undefined);
    const place = free < 0 ? this.chunks.length : free;
    this.chunks[place] = new BounceChunk(first, order, allocation);
    this.places.fill(place, first, first + (1 << order));
    this.slots.openChunk(first, order);
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
