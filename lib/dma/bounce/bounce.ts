/**
 * The bounce buffer (kernel/dma/swiotlb.c): memory that the device can always reach. When the driver maps memory that
 * the device cannot reach, the library copies its bytes through the bounce buffer.
 *
 *      caller's bytes   [~~~~~~ size ~~~~~~]
 *                          |  in: at map        ^  out: at unmap, by direction
 *                          v                    |
 *      run of slots     [0000|~~~~~~ size ~~~~~~|00000000]     zeros around it, pad keeps the low address bits
 *
 * The memory is allocated in chunks, when it is needed. The room under the mask determines the size of a chunk. If
 * that size is not available, half of it is tried, and so on down to one granule. `shrink` frees a chunk without a
 * run in use when other code needs the room. A mapping allocates nothing: runs and the views of them are kept and
 * used again. Around the bytes of a mapping the device finds zeros, or its own earlier writes.
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

/** The default of `total`: 64 MiB as in swiotlb, but at most a quarter of all that the device can reach. */
const TOTAL = 64 * 2 ** 20;
/** The default of `maxMapping`: swiotlb's 128 slots (IO_TLB_SEGSIZE). */
const MAX_MAPPING = 128 * SLOT_SIZE;
/** Bytes of a chunk, unless one mapping may be longer or there is little room. */
const CHUNK = 2 * 2 ** 20;
/** A chunk is at most this part of the room under the mask, unless one mapping needs more. */
const SHARE = 4;
/** Bytes that slot numbers can address. */
const MAX_TOTAL = 2 ** 20 * SLOT_SIZE;

/** Options of the bounce buffer (swiotlb). */
export interface BounceOptions {
  /**
   * Bytes that may be bounced at once, rounding included. Default: 64 MiB as in swiotlb, or a quarter of the memory
   * that the device can reach.
   */
  readonly total?: number;
  /** Bytes of the longest bounced mapping. Default: 256 KiB as in swiotlb. */
  readonly maxMapping?: number;
  /** If true, all memory is bounced, even if the device can reach it (swiotlb=force). Default false. */
  readonly force?: boolean;
  /**
   * With 'strict' the device reaches each bounced mapping by itself, in whole pages, by its direction, and only from
   * map to unmap. The kernel does this for a device that it does not trust. It costs two calls of the IOMMU per
   * mapping. With 'fast', the default, all slots stay mapped.
   */
  readonly isolation?: 'fast' | 'strict';
}

/** The counts of the bounce buffer since the device was opened. */
export interface BounceStats {
  /** Bytes of a slot. */
  readonly slotSize: number;
  /** The most slots that there may be. */
  readonly totalSlots: number;
  /** The number of slots that have memory behind them. */
  readonly backedSlots: number;
  readonly usedSlots: number;
  /** The most slots that were ever used at once. */
  readonly peakSlots: number;
  /** The number of mappings that went through the bounce buffer. */
  readonly maps: number;
  /** Bytes copied to the device's side, and back. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** The number of mappings that found no room. */
  readonly failures: number;
}

/** The indices of the counters. */
const MAPS = 0;
const BYTES_IN = 1;
const BYTES_OUT = 2;
const FAILURES = 3;

/** The bounce buffer of one device. */
export class BounceBuffer {
  /** Bytes of the longest mapping that can ever find room under the mask. */
  maxMapping = 0;

  protected readonly operations: DmaOperations;
  private readonly cache: CacheMaintenance | undefined;
  private readonly slots: BounceSlots;
  /** Bytes of the longest mapping, without regard to the mask. */
  private readonly longest: number;
  /** The order of a chunk if there is enough room, and the lowest order. A smaller chunk would not fill its granule. */
  private readonly usualOrder: number;
  private readonly leastOrder: number;
  /** The order of the next chunk under this mask. */
  private order = 0;
  /** The place of the chunk of each slot. */
  private readonly places: Int32Array;
  /** For the first slot of each run: the number of bytes from there on that may not be zero. */
  private readonly dirty: Int32Array;
  private readonly chunks: (BounceChunk | undefined)[] = [];
  private readonly counters = new Float64Array(4);
  private limit = 0;
  private growing = false;

  /**
   * @param limit the highest address of the slots that are allocated
   * @param cache the cache maintenance of a device that is not coherent
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
    this.dirty = new Int32Array(slots);
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

  /** Set the highest address of the slots that are allocated from now on. */
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
   * Allocate a run of slots for `size` bytes, which start `pad` bytes into it and have zeros around them. The run is
   * aligned at least to `align`, a power of two. The result is its first slot.
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

  /** Free a run. Nothing is copied. */
  give(slot: number): void {
    this.slots.give(slot);
  }

  /**
   * As `give`, but the whole run is cleared before it is used again, because the device may have written beside the
   * mapping's bytes.
   */
  giveSoiled(slot: number): void {
    this.dirty[slot] = this.slots.runOf(slot) * SLOT_SIZE;
    this.slots.give(slot);
  }

  /** The chunk of a slot in use. It stays the same as long as the slot is in use. */
  chunkOf(slot: number): BounceChunk {
    return this.chunks[this.places[slot]!]!;
  }

  /** True if a device address is in one of the slots, in use or free. */
  holds(address: number): boolean {
    return this.chunks.some(
      (chunk) => chunk !== undefined && address >= chunk.address && address < chunk.address + chunk.size,
    );
  }

  /** The memory that a slot is in. */
  arena(slot: number): Uint8Array {
    return this.chunkOf(slot).arena;
  }

  /** The offset in that memory at which the slot starts. */
  arenaOffset(slot: number): number {
    return this.chunkOf(slot).offset(slot);
  }

  /** Copy all bytes of `source` to byte `at` of a run. */
  copyIn(slot: number, at: number, source: Uint8Array): void {
    this.chunkOf(slot).copyIn(slot, at, source);
    this.counters[BYTES_IN]! += source.length;
  }

  /** Copy `size` bytes at byte `at` of a run to byte `offset` of `target`. */
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

  /** Count the failure of a mapping that finds no room, and return its error. */
  refuse(size: number, why: string, cause?: unknown): DmaError {
    this.counters[FAILURES]!++;
    const { totalSlots, usedSlots } = this.stats;
    const room = `total ${totalSlots} slots of ${SLOT_SIZE} bytes, used ${usedSlots}`;
    return new DmaError('ENOMEM', `cannot bounce ${size} bytes (${room}): ${why}`, {
      remedy: 'unmap something, map less at once, or raise bounce.total or bounce.maxMapping',
      cause,
    });
  }

  /** Free the memory of every chunk that has no run in use. The result is false if every chunk has one. */
  readonly shrink = (): boolean => {
    let any = false;
    // While a chunk is being allocated for this buffer, no other chunk of it is freed.
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

  /** The device is closing: its operations free the memory. */
  close(): void {
    this.operations.shrinkers.delete(this.shrink);
  }

  /** Allocate the memory of a chunk. @throws DmaError as DmaOperations.allocate */
  protected allocate(size: number, limit: number): DeviceRange {
    return this.operations.allocate(size, limit, 'read-write', 'noncoherent');
  }

  private clear(slot: number, pad: number, end: number, dirty: number): void {
    const chunk = this.chunkOf(slot);
    const offset = chunk.offset(slot);
    if (pad > 0) this.zero(chunk.arena, offset, offset + pad);
    if (dirty > end) this.zero(chunk.arena, offset + end, offset + dirty);
  }

  /** Clear bytes for the device too: if the zeros stayed in the CPU's cache, the device would read the old bytes. */
  private zero(arena: Uint8Array, start: number, end: number): void {
    // Lines in the CPU's cache may be older than the writes of the device.
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
    this.dirty[slot] = SLOT_SIZE << order;
    return slot;
  }

  /** Add a chunk of at least 2^order slots. */
  private grow(order: number, size: number): void {
    let trouble = this.tryToGrow(order);
    // Small empty chunks may occupy the room that a larger one needs.
    if (trouble !== undefined && this.shrink()) trouble = this.tryToGrow(order);
    if (trouble !== undefined) throw this.refuse(size, trouble.why, trouble.cause);
  }

  /**
   * Add a chunk of the usual size, or of half of it, and so on. The result is the error of the smallest one if none
   * can be allocated.
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
