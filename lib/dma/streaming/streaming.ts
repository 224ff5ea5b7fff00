/**
 * Streaming mappings of one device (kernel/dma/direct.h, drivers/iommu/dma-iommu.c). A piece of memory is mapped in
 * one of three ways:
 *
 *      the device's own memory, all of it under the mask        arithmetic   no copy, no system call
 *      foreign memory of `copybreak` bytes or more, where the
 *        address space can pin it                               pinned       in place; unaligned edges are copied
 *      everything else                                          bounced      copied (bounced.ts)
 *
 * An arithmetic or a bounced mapping allocates nothing.
 */

import {
  argumentError,
  checkBoolean,
  checkedLater,
  checkSize,
  type OptionChecks,
  options,
} from '../../arguments.ts';
import type { CacheMaintenance } from '../../cache.ts';
import { type DmaDirection, directionBits } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import { BounceBuffer, type BounceOptions } from '../bounce/bounce.ts';
import type { CopyMany } from '../bounce/copy-list.ts';
import { longestView } from '../bounce/room.ts';
import { SLOT_SIZE } from '../bounce/slots.ts';
import { isStrict, StrictBounceBuffer } from '../bounce/strict.ts';
import type { DmaOperations } from '../operations/operations.ts';
import type { OwnMemory, OwnRegion, Stamp } from '../operations/own-memory.ts';
import type { PinningContext } from '../placement/mapped-view.ts';
import { PinnedView } from '../placement/pinned-view.ts';
import { checkMemoryAttributes, DMA_ATTR } from '../words/attributes.ts';
import type { Lifetime } from '../words/lifetime.ts';
import { bytesOf, emptyView, mappableBytes, notAView } from '../words/mappable.ts';
import type { Misuse } from '../words/misuse.ts';
import { ArithmeticMappings } from './arithmetic.ts';
import { BouncedMappings } from './bounced.ts';
import { DEFAULT_COPYBREAK, measureCopybreak } from './copybreak.ts';
import { DmaLimits } from './limits.ts';
import { type MappingOwner, MappingRecord, type StreamingMapping } from './mapping.ts';
import { StrictBouncedMappings } from './strict.ts';
import { MappingTable } from './table.ts';

/** Options that decide how memory is mapped: in place, or through the bounce buffer. */
export interface StreamingOptions {
  readonly bounce?: BounceOptions | undefined;
  /**
   * Foreign memory of at least so many bytes is mapped in place where possible. Shorter memory is copied. With
   * 'measure' the library times both ways once, when it first needs the value. Default 32 KiB.
   */
  readonly copybreak?: number | 'measure' | undefined;
  /** The cache maintenance for a device that is not coherent. Default: the device is coherent. */
  readonly cache?: CacheMaintenance | undefined;
  /** A function that does many copies of a list in one call. Default: each copy is a call of its own. */
  readonly copyMany?: CopyMany | undefined;
}

/** The device of the mappings, as far as they need it. */
export interface StreamingDevice {
  readonly name: string;
  readonly operations: DmaOperations;
  readonly own: OwnMemory;
  readonly lifetime: Lifetime;
}

/** The options that a driver can pass. */
export const STREAMING_CHECKS: OptionChecks<Required<Omit<StreamingOptions, 'cache' | 'copyMany'>>> = {
  bounce: options<BounceOptions>({
    total: checkSize,
    maxMapping: checkSize,
    force: checkBoolean,
    isolation: checkedLater,
  }),
  copybreak: checkCopybreak,
};

/** The streaming mappings of one device. */
export class Streaming implements MappingOwner {
  readonly limits: DmaLimits;
  readonly bounce: BounceBuffer;
  /** True if all memory is bounced, even if the device can reach it. */
  readonly forced: boolean;
  /** Dependencies of an in-place mapping. */
  readonly pinning: PinningContext;
  /** The dependencies without cache maintenance, for coherent memory. */
  private readonly uncached: PinningContext;
  /**
   * A function that does many copies in one call. It is undefined if there is none, or if each copy needs cache
   * maintenance around it.
   */
  readonly copyMany: CopyMany | undefined;

  protected readonly device: StreamingDevice;
  private readonly own: OwnMemory;
  private readonly cache: CacheMaintenance | undefined;
  protected readonly table = new MappingTable(this);
  private readonly arithmetic: ArithmeticMappings;
  private readonly bounced: BouncedMappings;
  /** True if memory can be mapped in place. */
  private readonly pins: boolean;
  /**
   * Foreign memory of at least so many bytes is mapped in place. The value is beyond all sizes where that is
   * impossible.
   */
  private copybreak: number;
  private measured: boolean;
  /** The highest address of a mapping: the streaming mask. */
  private limit: number;
  private readonly lifetime: Lifetime;

  /** @throws DmaError EINVAL options */
  constructor(
    device: StreamingDevice,
    limit: number,
    { bounce = {}, copybreak, cache, copyMany }: StreamingOptions,
  ) {
    const { operations, own, lifetime } = device;
    this.device = device;
    this.lifetime = lifetime;
    this.own = own;
    this.limit = limit;
    this.cache = cache;
    this.copyMany = cache === undefined ? copyMany : undefined;
    this.forced = bounce.force === true;
    this.pins = operations.pinsForeignMemory && !this.forced;
    const least = copybreak === undefined || copybreak === 'measure' ? DEFAULT_COPYBREAK : copybreak;
    this.copybreak = this.pins ? least : Number.POSITIVE_INFINITY;
    this.measured = !this.pins || copybreak !== 'measure';
    const strict = isStrict(bounce, operations);
    this.bounce = new (strict ? StrictBounceBuffer : BounceBuffer)(operations, limit, bounce, cache);
    this.pinning = { operations, bounce: this.bounce, cache };
    this.uncached = { operations, bounce: this.bounce, cache: undefined };
    this.limits = new DmaLimits({
      granule: operations.granule,
      mergeBoundary: operations.mergeBoundary,
      cacheAlignment: cache?.lineSize ?? 1,
      maxMappingSize: () => this.longestAligned(),
      maxBounceSize: () => this.bounced.maxMappingSize,
    });
    this.arithmetic = new ArithmeticMappings(this.table, cache);
    const Bounced = strict ? StrictBouncedMappings : BouncedMappings;
    this.bounced = new Bounced(operations, this.bounce, this.table, this.limits, cache);
  }

  /** The number of live mappings. */
  get count(): number {
    return this.table.count;
  }

  /** Set the highest address of later mappings. */
  setLimit(limit: number): void {
    this.limit = limit;
    this.bounce.setLimit(limit);
  }

  /** Map the bytes of a view (dma_map_single). @throws DmaError as `DmaDevice.mapSingle` */
  mapSingle(view: ArrayBufferView, direction: DmaDirection, attributes: number): StreamingMapping {
    const bits = directionBits(direction);
    if (attributes !== 0) this.checkAttributes(attributes);
    return this.map(view, bits, attributes).handle;
  }

  /** @throws DmaError EINVAL not attributes of a memory mapping · EPERM the device is not as they require */
  checkAttributes(attributes: number): void {
    checkMemoryAttributes(attributes);
    if ((attributes & DMA_ATTR.REQUIRE_COHERENT) === 0 || this.cache === undefined) return;
    const message = `${this.device.name} is not coherent, and DMA_ATTR.REQUIRE_COHERENT was given`;
    throw new DmaError('EPERM', message, { remedy: 'leave it out, and sync' });
  }

  /** As `mapSingle`, for a caller that has checked direction and attributes. It returns the record. */
  map(view: ArrayBufferView, bits: number, attributes: number): MappingRecord {
    const stamp = this.stampOf(view);
    if (stamp !== undefined) return this.mapStamped(stamp, bits, attributes);
    return this.mapUnstamped(view, view.buffer, bits, attributes);
  }

  /** As `map`, for one element of a list whose elements are mapped one by one. */
  mapElement(view: ArrayBufferView, bits: number, attributes: number): MappingRecord {
    return this.map(view, bits, attributes);
  }

  /** As `map`, for pieces that are copied side by side (bounced.ts). */
  mapChain(
    views: readonly ArrayBufferView[],
    start: number,
    bits: number,
    attributes: number,
  ): readonly MappingRecord[] {
    const sources = views.map((view) => mappableBytes(view, bits));
    return this.bounced.mapChain(sources, start, bits, attributes);
  }

  /** True if foreign memory of so many bytes in all is mapped in place rather than copied. */
  worthPinning(size: number): boolean {
    if (!this.measured) {
      this.measured = true;
      this.copybreak = measureCopybreak(this.pinning.operations, this.limit);
    }
    return size >= this.copybreak;
  }

  unmap(record: MappingRecord): void {
    const { pinned, size } = record;
    let intact = true;
    if (record.way === 'bounced') intact = this.bounced.unmap(record);
    else if (pinned !== undefined) intact = pinned.finish(record.attributes);
    else this.arithmetic.unmap(record);
    this.table.leave(record);
    if (!intact) throw detached(size, 'it is unmapped, and what the device wrote is lost');
  }

  syncForCpu(record: MappingRecord, offset: number, size: number): void {
    const { pinned } = record;
    let intact = true;
    if (record.way === 'bounced') intact = this.bounced.syncForCpu(record, offset, size);
    else if (pinned !== undefined) intact = pinned.syncForCpu(offset, size);
    else this.arithmetic.syncForCpu(record, offset, size);
    if (!intact) throw detached(record.size, 'nothing was copied; unmap it');
  }

  syncForDevice(record: MappingRecord, offset: number, size: number): void {
    const { pinned } = record;
    let intact = true;
    if (record.way === 'bounced') intact = this.bounced.syncForDevice(record, offset, size);
    else if (pinned !== undefined) intact = pinned.syncForDevice(offset, size);
    else this.arithmetic.syncForDevice(record, offset, size);
    if (!intact) throw detached(record.size, 'nothing was copied; unmap it');
  }

  needSync({ way, pinned, region }: MappingRecord): boolean {
    if (way === 'bounced' || pinned?.hasEdges === true) return true;
    return this.cache !== undefined && region?.coherent !== true;
  }

  newRecord(): MappingRecord {
    return new MappingRecord(this);
  }

  /** Return the error to throw: `error`. dma-debug overrides this. */
  refuse(_misuse: Misuse, _record: MappingRecord, error: DmaError): DmaError {
    return error;
  }

  /** The device is closing: mappings end without a copy, and the operations free their addresses. */
  close(): void {
    this.table.revoke();
    this.bounce.close();
  }

  /**
   * The stamp of a view that this library made.
   * @throws DmaError ENODEV the device is gone or closed · EINVAL no view
   */
  protected stampOf(view: ArrayBufferView): Stamp | undefined {
    if (this.lifetime.ended) throw this.lifetime.error;
    if (!ArrayBuffer.isView(view)) throw notAView();
    return this.own.stampOf(view);
  }

  protected mapStamped({ region, offset, view }: Stamp, bits: number, attributes: number): MappingRecord {
    return this.mapOwn(region, offset, view, bits, attributes);
  }

  /**
   * @param buffer the view's buffer. The caller has read it once, because reading it costs as much as copying a
   *   kilobyte
   */
  protected mapUnstamped(
    view: ArrayBufferView,
    buffer: ArrayBufferLike,
    bits: number,
    attributes: number,
  ): MappingRecord {
    const region = this.own.regionOf(buffer);
    const source = bytesOf(view, buffer, bits);
    if (region === undefined) return this.mapForeign(source, bits, attributes);
    return this.mapOwn(region, source.byteOffset, source, bits, attributes);
  }

  private mapOwn(
    region: OwnRegion,
    offset: number,
    source: Uint8Array,
    bits: number,
    attributes: number,
  ): MappingRecord {
    const size = source.length;
    if (size === 0) throw emptyView();
    const address = region.address + offset;
    if (this.forced || ((address | 0) & this.limits.dmaAlignment) !== 0) {
      return this.bounced.map(source, bits, attributes);
    }
    if (address + size - 1 <= this.limit && (region.bits & bits) === bits) {
      return this.arithmetic.map(region, offset, size, bits, attributes);
    }
    return this.mapElsewhere(region, source, bits, attributes);
  }

  /** Map own memory whose address the device cannot use: in place at another address, or through a copy. */
  private mapElsewhere(
    region: OwnRegion,
    source: Uint8Array,
    bits: number,
    attributes: number,
  ): MappingRecord {
    if (this.shouldPin(source.length) || this.mustPin(attributes)) {
      const pinning = region.coherent ? this.uncached : this.pinning;
      const record = this.pin(source, bits, attributes, pinning, region);
      if (record !== undefined) return record;
    }
    return this.bounced.map(source, bits, attributes);
  }

  private mapForeign(source: Uint8Array, bits: number, attributes: number): MappingRecord {
    if (this.limits.dmaAlignment !== 0 && this.isMisaligned(source)) {
      return this.bounced.map(source, bits, attributes);
    }
    if (this.shouldPin(source.length) || this.mustPin(attributes)) {
      const record = this.pin(source, bits, attributes, this.pinning, undefined);
      if (record !== undefined) return record;
    }
    return this.bounced.map(source, bits, attributes);
  }

  /** True if the device cannot accept the address that the memory would have in place. */
  private isMisaligned(source: Uint8Array): boolean {
    const address = this.pinning.operations.pageOffset(source.buffer) + source.byteOffset;
    return (address & this.limits.dmaAlignment) !== 0;
  }

  /** True if foreign memory of so many bytes is copied. */
  copies(size: number): boolean {
    return size <= this.bounce.maxMapping && !this.shouldPin(size);
  }

  /** True if memory of this size is long enough to be mapped in place, or too long to be copied. */
  private shouldPin(size: number): boolean {
    if (this.worthPinning(size)) return true;
    return size > SLOT_SIZE && this.pins && size > this.bounced.maxMappingSize;
  }

  /** True if even short memory has to be mapped in place, because the attributes forbid a copy. */
  private mustPin(attributes: number): boolean {
    return (attributes & DMA_ATTR.REQUIRE_COHERENT) !== 0 && this.pins;
  }

  /**
   * Pin memory. The result is undefined if the memory cannot be pinned and may be bounced.
   * @param region of our own memory
   */
  private pin(
    source: Uint8Array,
    bits: number,
    attributes: number,
    pinning: PinningContext,
    region: OwnRegion | undefined,
  ): MappingRecord | undefined {
    const whole = region !== undefined && !region.declared;
    let pinned: PinnedView;
    try {
      pinned = new PinnedView(pinning, source, bits, attributes, this.limit, whole);
    } catch (error) {
      const mayBounce = (attributes & DMA_ATTR.REQUIRE_COHERENT) === 0;
      if (mayBounce && source.length <= this.bounced.maxMappingSize && isShortage(error)) return undefined;
      throw error;
    }
    const record = this.table.take(source.length, bits, attributes, 'pinned');
    record.address = pinned.address;
    record.pinned = pinned;
    record.region = region;
    return record;
  }

  /** Bytes of the longest mapping that can be copied or, if that is longer, pinned. */
  private longestAligned(): number {
    const bounced = this.bounced.maxMappingSize;
    if (!this.pins) return bounced;
    const { ranges, granule } = this.pinning.operations;
    return Math.max(bounced, longestView(ranges, granule, this.limit));
  }
}

function checkCopybreak(copybreak: unknown, what: string): void {
  if (copybreak === 'measure' || (typeof copybreak === 'number' && copybreak >= 0)) return;
  throw argumentError(what, copybreak, `pass bytes, or 'measure'`);
}

/** True for errors that bouncing may avoid. */
function isShortage(error: unknown): boolean {
  return error instanceof DmaError && ['EFAULT', 'ENOMEM', 'ENOSPC'].includes(error.code);
}

function detached(size: number, consequence: string): DmaError {
  return new DmaError('EINVAL', `the buffer of a mapping of ${size} bytes was detached while it was mapped`, {
    remedy: `${consequence}; keep a buffer that is mapped where it is`,
  });
}
