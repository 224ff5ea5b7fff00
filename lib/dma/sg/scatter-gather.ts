/**
 * Lists of memory for one device (dma_map_sg; iommu_dma_map_sg and dma_direct_map_sg). A list is mapped in one of
 * three ways:
 *
 *      all of it the device's own, under the mask     -> arithmetic   neighbours merge where they meet on a granule
 *      own memory, whole foreign granules, or a few
 *        with edges: `copybreak` bytes or more in all -> pinned       one run of addresses, padded and merged
 *                                                                     by the kernel's rule (segments.ts)
 *      anything else                                  -> one by one   as mapSingle does; copied elements that would
 *                                                                     merge are copied side by side (chains.ts)
 *
 * With direct operations nothing ever merges. A list is mapped whole or not mapped.
 */

import type { CacheMaintenance } from '../../cache.ts';
import { type DmaDirection, directionBits, directionOf } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import type { DmaOperations } from '../operations/operations.ts';
import type { OwnMemory, OwnRegion } from '../operations/own-memory.ts';
import { type PinnedElement, PinnedList } from '../placement/pinned-list.ts';
import { crossesBoundary, planRun, type SegmentLimits } from '../placement/segments.ts';
import { RecordTable } from '../streaming/record-table.ts';
import type { Streaming } from '../streaming/streaming.ts';
import { checkMemoryAttributes, DMA_ATTR } from '../words/attributes.ts';
import type { Lifetime } from '../words/lifetime.ts';
import { mappableBytes } from '../words/mappable.ts';
import type { Misuse } from '../words/misuse.ts';
import { NO_COPY, type Starts } from './chains.ts';
import { detachedInList, isRefusal, sgError } from './errors.ts';
import { type SgMapping, type SgOwner, SgRecord } from './mapping.ts';
import { mapParts, syncPartsForCpu, syncPartsForDevice, unmapParts } from './parts.ts';

/** The device of the lists, as far as they need it. */
export interface SgContext {
  /** Name of the device, for messages. */
  readonly name: string;
  readonly operations: DmaOperations;
  readonly own: OwnMemory;
  readonly streaming: Streaming;
  readonly cache?: CacheMaintenance | undefined;
  /** The highest address of a mapping: the streaming mask. */
  readonly limit: number;
  readonly lifetime: Lifetime;
}

/** The mapped lists of one device. */
export class ScatterGather implements SgOwner {
  private readonly name: string;
  private readonly operations: DmaOperations;
  private readonly own: OwnMemory;
  private readonly streaming: Streaming;
  private readonly cache: CacheMaintenance | undefined;
  protected readonly table = new RecordTable<SgRecord>(this);
  protected readonly limits: SegmentLimits;
  private readonly merges: boolean;
  private limit: number;
  private readonly lifetime: Lifetime;

  constructor({ name, operations, own, streaming, cache, limit, lifetime }: SgContext) {
    this.lifetime = lifetime;
    this.name = name;
    this.operations = operations;
    this.own = own;
    this.streaming = streaming;
    this.cache = cache;
    this.limit = limit;
    this.merges = operations.mergeBoundary !== 0;
    this.limits = segmentLimits(operations.granule, streaming);
  }

  /** The number of mapped lists. */
  get count(): number {
    return this.table.count;
  }

  /** Set the highest address of later mappings. */
  setLimit(limit: number): void {
    this.limit = limit;
  }

  /** Map a list (dma_map_sgtable); see `DmaDevice.mapSg`. */
  mapSg(views: readonly ArrayBufferView[], direction: DmaDirection, attributes: number): SgMapping {
    return this.map(views, direction, attributes).handle;
  }

  /** As `mapSg`. It returns the record. */
  map(views: readonly ArrayBufferView[], direction: DmaDirection, attributes: number): SgRecord {
    this.lifetime.check();
    const bits = directionBits(direction);
    if (attributes !== 0) this.#checkAttributes(attributes);
    if (!Array.isArray(views) || views.length === 0) {
      throw new DmaError('EINVAL', 'an empty list cannot be mapped', {
        remedy: 'pass an array of at least one view',
      });
    }
    const record = this.table.unused();
    record.nents = views.length;
    record.bits = bits;
    record.attributes = attributes;
    try {
      if (!this.#mapOwn(record, views)) this.#mapOther(record, views);
    } catch (error) {
      this.table.cancel(record);
      throw error;
    }
    this.table.enter(record);
    return record;
  }

  unmapSg(record: SgRecord): void {
    const failure = unmapParts(this.streaming, record.parts);
    let intact = (record.attributes & DMA_ATTR.SKIP_CPU_SYNC) !== 0 || this.#maintain(record, false);
    if (record.run?.release(record.attributes) === false) intact = false;
    const { nents } = record;
    this.table.leave(record);
    if (failure !== undefined) throw failure;
    if (!intact) throw detachedInList(nents, 'it has been unmapped');
  }

  syncSgForCpu(record: SgRecord): void {
    const failure = syncPartsForCpu(this.streaming, record);
    let intact = this.#maintain(record, false);
    if (record.run?.syncForCpu() === false) intact = false;
    if (failure !== undefined) throw failure;
    if (!intact) throw detachedInList(record.nents, 'unmap it');
  }

  syncSgForDevice(record: SgRecord): void {
    const failure = syncPartsForDevice(this.streaming, record);
    let intact = this.#maintain(record, true);
    if (record.run?.syncForDevice() === false) intact = false;
    if (failure !== undefined) throw failure;
    if (!intact) throw detachedInList(record.nents, 'unmap it');
  }

  needSgSync(record: SgRecord): boolean {
    return (
      record.cached.length > 0 ||
      record.run?.hasEdges === true ||
      record.parts.some((part) => this.streaming.needSync(part))
    );
  }

  newRecord(): SgRecord {
    return new SgRecord(this, this.limits);
  }

  /** Return the error to throw: `error`. dma-debug overrides this. */
  refuse(_misuse: Misuse, _record: SgRecord, error: DmaError): DmaError {
    return error;
  }

  /** The device is closing: lists end without a copy, and the operations free their addresses. */
  close(): void {
    this.table.revoke();
  }

  #checkAttributes(attributes: number): void {
    checkMemoryAttributes(attributes);
    if ((attributes & DMA_ATTR.REQUIRE_COHERENT) === 0 || this.cache === undefined) return;
    throw new DmaError(
      'EOPNOTSUPP',
      `${this.name} is not coherent, and DMA_ATTR.REQUIRE_COHERENT was given`,
      {
        remedy: 'leave it out, and sync',
      },
    );
  }

  /** Map the whole list by arithmetic. If that is not possible, nothing is done, and the result is false. */
  #mapOwn(record: SgRecord, views: readonly ArrayBufferView[]): boolean {
    const { own, limit, merges, limits } = this;
    const { segments, bits } = record;
    const { granule } = limits;
    const { dmaAlignment } = this.streaming.limits;
    if (this.streaming.forced) return false;
    segments.reset(limits);
    let size = 0;
    for (let i = 0; i < views.length; i++) {
      const view = views[i]!;
      if (!ArrayBuffer.isView(view)) return false;
      const stamp = own.stampOfElement(view);
      let region: OwnRegion | undefined;
      let address: number;
      let length: number;
      if (stamp !== undefined) {
        region = stamp.region;
        address = stamp.address;
        length = stamp.view.length;
      } else {
        region = own.regionOf(view.buffer);
        if (region === undefined) return false;
        address = region.address + view.byteOffset;
        length = view.byteLength;
      }
      const last = address + length - 1;
      if (length === 0 || last > limit || (region.bits & bits) !== bits) return false;
      if (((address | 0) & dmaAlignment) !== 0) return false;
      // Memory that lies in one granule cannot cross a boundary.
      if (((address | 0) & (granule - 1)) + length > granule) {
        if (crossesBoundary(address, length, limits.segmentBoundary)) return false;
      }
      if (merges) segments.push(address, length);
      else segments.pushAlone(address, length);
      size += length;
    }
    record.size = size;
    record.way = 'arithmetic';
    if (this.cache !== undefined) this.#startMaintaining(record, views);
    return true;
  }

  /** Map the list in place as a whole if possible, otherwise one by one. */
  #mapOther(record: SgRecord, views: readonly ArrayBufferView[]): void {
    if (!this.#mayPlace(views, record.attributes) || !this.#mapInPlace(record, views)) {
      record.segments.reset(this.limits);
      mapParts(this.streaming, record, views, this.#startsOf(views), this.limits);
    } else if (this.cache !== undefined) {
      this.#startMaintaining(record, views);
    }
  }

  /** True if a cheap look does not rule out that the list is mapped in place. */
  #mayPlace(views: readonly ArrayBufferView[], attributes: number): boolean {
    if (!this.merges || this.streaming.forced) return false;
    let size = 0;
    let foreign = false;
    for (const view of views) {
      // If this element is invalid, mapping it by itself throws the error.
      if (!ArrayBuffer.isView(view)) return false;
      size += view.byteLength;
      foreign ||= this.own.stampOf(view) === undefined && this.own.regionOf(view.buffer) === undefined;
    }
    // Being short is no reason to copy the library's own memory. It comes here because its own addresses cannot be
    // used.
    if (!foreign || this.streaming.worthPinning(size)) return true;
    return (attributes & DMA_ATTR.REQUIRE_COHERENT) !== 0 && this.operations.pinsForeignMemory;
  }

  /** @throws DmaError EINVAL */
  #element(view: ArrayBufferView, bits: number): PinnedElement {
    const bytes = mappableBytes(view, bits);
    const { buffer, byteOffset, length } = bytes;
    const region = this.own.regionOf(buffer);
    const first = region?.address ?? this.operations.pageOffset(buffer);
    const start = (first + byteOffset) % this.operations.granule;
    // The library's own memory shares its granules with no other bytes. Foreign memory may share them.
    const edged = region === undefined && (start !== 0 || length % this.operations.granule !== 0);
    return { buffer, offset: byteOffset, start, length, edged: edged ? bytes : undefined };
  }

  /** The offsets in their granules of the elements that are copied. It is undefined where nothing merges. */
  #startsOf(views: readonly ArrayBufferView[]): Starts | undefined {
    const { operations, own, streaming } = this;
    if (!this.merges || views.length === 1 || streaming.limits.dmaAlignment !== 0) return undefined;
    const starts = new Float64Array(views.length).fill(NO_COPY);
    let last: ArrayBufferLike | undefined;
    let offset = 0;
    for (let i = 0; i < views.length; i++) {
      const view = views[i]!;
      // If an element cannot be mapped, mapping it by itself throws the error.
      if (!ArrayBuffer.isView(view) || view.byteLength === 0 || !streaming.copies(view.byteLength)) continue;
      const { buffer } = view;
      if (buffer instanceof SharedArrayBuffer || (buffer as { resizable?: boolean }).resizable === true)
        continue;
      const region = own.regionOf(buffer);
      if (region !== undefined && !streaming.forced) continue;
      if (buffer !== last) offset = region?.address ?? operations.pageOffset(buffer);
      last = buffer;
      starts[i] = (offset + view.byteOffset) % operations.granule;
    }
    return starts;
  }

  #mapInPlace(record: SgRecord, views: readonly ArrayBufferView[]): boolean {
    const elements = views.map((view) => this.#element(view, record.bits));
    const edges = elements.some(({ edged }) => edged !== undefined);
    if (edges && (record.attributes & DMA_ATTR.REQUIRE_COHERENT) !== 0) return false;
    const { dmaAlignment } = this.streaming.limits;
    if (elements.some(({ start }) => (start & dmaAlignment) !== 0)) return false;
    const plan = planRun(elements, this.limits);
    const size = elements.reduce((sum, { length }) => sum + length, 0);
    // Mapping each of many edges costs more than copying them. It is done only where it makes the segments fewer.
    const few = plan.segments.count < elements.length && size >= elements.length * this.limits.granule;
    if (edges && !few) return false;
    let run: PinnedList;
    try {
      run = new PinnedList(
        this.streaming.pinning,
        elements,
        plan.offsets,
        plan.total,
        this.limit,
        record.bits,
      );
    } catch (error) {
      if ((record.attributes & DMA_ATTR.REQUIRE_COHERENT) === 0 && isRefusal(error)) return false;
      throw sgError(error);
    }
    record.run = run;
    record.way = 'pinned';
    record.size = size;
    record.segments.reset(this.limits);
    for (let i = 0; i < plan.segments.count; i++) {
      record.segments.pushAlone(run.address + plan.segments.addresses[i]!, plan.segments.lengths[i]!);
    }
    return true;
  }

  #startMaintaining(record: SgRecord, views: readonly ArrayBufferView[]): void {
    const { run, bits, attributes } = record;
    for (const view of views) {
      const bytes = mappableBytes(view, bits);
      // If an element's edges are copied, the PinnedList maintains the caches of the whole element.
      if (run?.hasEdges === true && this.#element(view, bits).edged !== undefined) continue;
      if (this.own.regionOf(bytes.buffer)?.coherent !== true) record.cached.push(bytes);
    }
    record.cachedLengths = record.cached.map(({ length }) => length);
    if ((attributes & DMA_ATTR.SKIP_CPU_SYNC) !== 0) return;
    this.#maintain(record, true);
    run?.clean();
  }

  /** Make the CPU and the device agree about cached bytes. False if a buffer was detached meanwhile. */
  #maintain({ cached, cachedLengths, bits }: SgRecord, forDevice: boolean): boolean {
    let intact = true;
    for (let i = 0; i < cached.length; i++) {
      const { buffer, byteOffset, length } = cached[i]!;
      if (length !== cachedLengths[i]) intact = false;
      else if (forDevice) this.cache!.syncForDevice(buffer, byteOffset, length, directionOf(bits));
      else this.cache!.syncForCpu(buffer, byteOffset, length, directionOf(bits));
    }
    return intact;
  }
}

/** The limits are read from the device each time, because the driver may change them. */
function segmentLimits(granule: number, { limits }: Streaming): SegmentLimits {
  return {
    granule,
    get maxSegmentSize() {
      return limits.maxSegmentSize;
    },
    get segmentBoundary() {
      return limits.segmentBoundary;
    },
  };
}
