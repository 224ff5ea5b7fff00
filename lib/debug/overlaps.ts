/**
 * Conflicts between mappings, found by the bytes that they share (active_cacheline_insert of kernel/dma/debug.c). The
 * kernel compares the first cache line of each mapping. Here all bytes count.
 *
 *      both written by the device, bytes in common      overlapping-mappings, also if caches are coherent
 *      one written by the device, a cache line shared   shared-cache-line, if software keeps caches coherent
 *
 * Every byte has a number. For the device's own memory it is the device address, which all devices in its domain
 * share. For other buffers it is a number above all addresses, which is the same for every device of the process. So
 * conflicts between two devices are found as well, as in the kernel, where all devices of the machine share one tree.
 */

import { DEVICE_WRITES } from '../direction.ts';
import type { OwnMemory } from '../dma/operations/own-memory.ts';
import { DMA_ATTR } from '../dma/words/attributes.ts';
import { ByteNumbers, FIRST_NUMBER } from './byte-numbers.ts';
import type { Entry } from './entry.ts';
import { SpanIndex } from './span-index.ts';

/** ACTIVE_CACHELINE_MAX_OVERLAP: the kernel counts in three bits. */
const MOST_OVERLAPS = 7;

/** The foreign memory that devices may write, byte by byte, and the numbers of its bytes. */
const foreignWritten = new SpanIndex<Entry>();
const foreignNumbers = new ByteNumbers();
/** The devices' own memory that they may write, for each domain. */
const ownWritten = new WeakMap<OwnMemory, SpanIndex<Entry>>();

/** Attributes by which a driver tells that the overlap is intended. */
const KNOWN = DMA_ATTR.SKIP_CPU_SYNC | DMA_ATTR.DEBUGGING_IGNORE_CACHELINES | DMA_ATTR.REQUIRE_COHERENT;

/** The conflict between a new mapping and an older one. */
export type Conflict = 'overlapping-mappings' | 'shared-cache-line' | 'too-many-overlaps';

export type OnConflict = (conflict: Conflict, entry: Entry, other: Entry) => void;

/** The live mappings of the devices that share memory, found by the bytes that they cover. */
export class Overlaps {
  private readonly own: OwnMemory;
  private readonly onConflict: OnConflict;
  /** The domain's own memory that its devices may write, byte by byte. */
  private readonly written: SpanIndex<Entry>;
  /** Memory whose caches software keeps coherent, in whole cache lines; undefined on a coherent device. */
  private readonly cached: SpanIndex<Entry> | undefined;
  private readonly lineSize: number;
  private warned = false;

  /** @param lineSize of the caches that software keeps coherent; 1 on a coherent device */
  constructor(own: OwnMemory, lineSize: number, onConflict: OnConflict) {
    this.own = own;
    this.written = ownWritten.get(own) ?? new SpanIndex<Entry>();
    ownWritten.set(own, this.written);
    this.lineSize = lineSize;
    this.cached = lineSize > 1 ? new SpanIndex<Entry>() : undefined;
    this.onConflict = onConflict;
  }

  /**
   * The number of the first byte of a view. @param buffer the buffer of the view, if the caller has read it already
   */
  numberOf(view: ArrayBufferView, buffer: ArrayBufferLike = view.buffer): number {
    return this.baseOf(buffer) + view.byteOffset;
  }

  /**
   * Bytes [start, start + size) are mapped for the device.
   * @returns the argument for `leave`; -1 if the device does not write the bytes, so that they conflict with no other
   *   mapping
   */
  enter(entry: Entry, start: number, size: number, attributes: number): number {
    if ((entry.bits & DEVICE_WRITES) === 0) return -1;
    const foreign = start >= FIRST_NUMBER;
    const written = foreign ? foreignWritten : this.written;
    const place = written.add(start, size, entry);
    const { met } = written;
    if (met !== undefined) this.conflict(entry, met, written, start, size, attributes);
    return place * 2 + (foreign ? 1 : 0);
  }

  leave(place: number): void {
    if ((place & 1) === 1) foreignWritten.remove(place >>> 1);
    else this.written.remove(place >>> 1);
  }

  /**
   * As `enter`, for the cache lines of memory whose caches software keeps coherent. @returns the argument for
   * `leaveLines`, or -1
   */
  enterLines(entry: Entry, start: number, size: number, attributes: number): number {
    const { cached, lineSize } = this;
    if (cached === undefined) return -1;
    const first = Math.floor(start / lineSize) * lineSize;
    const span = Math.ceil((start + size) / lineSize) * lineSize - first;
    const place = cached.add(first, span, entry);
    const other = cached.met;
    const written = other !== undefined && ((entry.bits | other.bits) & DEVICE_WRITES) !== 0;
    if (written && (attributes & KNOWN) === 0) this.onConflict('shared-cache-line', entry, other);
    return place;
  }

  leaveLines(place: number): void {
    this.cached!.remove(place);
  }

  private conflict(
    entry: Entry,
    other: Entry,
    written: SpanIndex<Entry>,
    start: number,
    size: number,
    attributes: number,
  ): void {
    if ((attributes & KNOWN) === 0) this.onConflict('overlapping-mappings', entry, other);
    if (this.warned || written.overlaps(start, size, MOST_OVERLAPS + 2) <= MOST_OVERLAPS + 1) return;
    this.warned = true;
    this.onConflict('too-many-overlaps', entry, other);
  }

  private baseOf(buffer: ArrayBufferLike): number {
    return foreignNumbers.known(buffer) ?? this.own.regionOf(buffer)?.address ?? foreignNumbers.of(buffer);
  }
}
