/**
 * Mappings that conflict, found by the bytes that they share (active_cacheline_insert of kernel/dma/debug.c).
 * The kernel compares the first cache line of each; here all bytes count.
 *
 *      both written by the device, bytes in common      overlapping-mappings, also where caches are coherent
 *      one written by the device, a cache line shared   shared-cache-line, where caches are kept by hand
 *
 * Bytes have a number: those of the device's own memory their device address, which all devices in its domain share;
 * those of other buffers one from above all addresses, the same for every device of the process. So what two devices
 * are lent at once is found as well, as in the kernel, whose tree is the machine's.
 */

import { DEVICE_WRITES } from '../direction.ts';
import type { OwnMemory } from '../dma/operations/own-memory.ts';
import { DMA_ATTR } from '../dma/words/attributes.ts';
import type { Entry } from './entry.ts';
import { SpanIndex } from './span-index.ts';

/** ACTIVE_CACHELINE_MAX_OVERLAP: the kernel counts in three bits. */
const MOST_OVERLAPS = 7;
/** Beyond every device address. */
const FOREIGN = 2 ** 51;
/** Buffers are numbered at least so far apart, and by multiples of it. */
const APART = 4096;

/** The foreign memory that devices may write, byte by byte, and where each buffer's numbers start. */
const foreignWritten = new SpanIndex<Entry>();
const foreignBases = new WeakMap<ArrayBufferLike, number>();
let nextForeign = FOREIGN;
/** The same of memory that is the own of the devices in one domain. */
const ownWritten = new WeakMap<OwnMemory, SpanIndex<Entry>>();

/** Attributes with which a driver says that the overlap is intended. */
const KNOWN = DMA_ATTR.SKIP_CPU_SYNC | DMA_ATTR.DEBUGGING_IGNORE_CACHELINES | DMA_ATTR.REQUIRE_COHERENT;

/** Said of a new mapping and an older one. */
export type Conflict = 'overlapping-mappings' | 'shared-cache-line' | 'too-many-overlaps';

export type OnConflict = (conflict: Conflict, entry: Entry, other: Entry) => void;

/** The live mappings of the devices that share memory, found by the bytes that they cover. */
export class Overlaps {
  private readonly own: OwnMemory;
  private readonly onConflict: OnConflict;
  /** The domain's own memory that its devices may write, byte by byte. */
  private readonly written: SpanIndex<Entry>;
  /** What has its cache lines kept by hand, in whole lines; undefined on a coherent device. */
  private readonly cached: SpanIndex<Entry> | undefined;
  private readonly lineSize: number;
  private warned = false;

  /** @param lineSize of the caches that are kept by hand; 1 on a coherent device */
  constructor(own: OwnMemory, lineSize: number, onConflict: OnConflict) {
    this.own = own;
    this.written = ownWritten.get(own) ?? new SpanIndex<Entry>();
    ownWritten.set(own, this.written);
    this.lineSize = lineSize;
    this.cached = lineSize > 1 ? new SpanIndex<Entry>() : undefined;
    this.onConflict = onConflict;
  }

  /** Number of the first byte of a view. @param buffer of it, where it was read before */
  numberOf(view: ArrayBufferView, buffer: ArrayBufferLike = view.buffer): number {
    return this.baseOf(buffer) + view.byteOffset;
  }

  /**
   * Bytes [start, start + size) are lent to the device.
   * @returns what `leave` takes; -1 when the device does not write them, so that they conflict with no other mapping
   */
  enter(entry: Entry, start: number, size: number, attributes: number): number {
    if ((entry.bits & DEVICE_WRITES) === 0) return -1;
    const foreign = start >= FOREIGN;
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

  /** The same for the cache lines of what has them kept by hand. @returns what `leaveLines` takes, -1 for nothing */
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
    return foreignBases.get(buffer) ?? this.own.regionOf(buffer)?.address ?? foreignBase(buffer);
  }
}

function foreignBase(buffer: ArrayBufferLike): number {
  const base = nextForeign;
  nextForeign += Math.ceil(buffer.byteLength / APART + 1) * APART;
  foreignBases.set(buffer, base);
  return base;
}
