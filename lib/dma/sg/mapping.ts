/**
 * A mapped list: the handle that a driver holds, and the record behind it. Both are made together once and recycled
 * together, as those of a single mapping are (mapping.ts). So are the segment objects, which only ask the record.
 */

import { type DmaDirection, directionOf } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import type { PinnedList } from '../placement/pinned-list.ts';
import { type SegmentLimits, SegmentList } from '../placement/segments.ts';
import { bitsOneWay, type MappingRecord, type MappingWay } from '../streaming/mapping.ts';
import { LiveRecord, MAPPED, REVOKED, type RecordMaker } from '../streaming/record-table.ts';
import { endAttributes } from '../words/attributes.ts';
import type { Misuse, Refuser } from '../words/misuse.ts';
import type { SgBatch } from './batch.ts';

/** The maker of a mapped list. */
export interface SgOwner extends Refuser<SgRecord>, RecordMaker<SgRecord> {
  unmapSg(record: SgRecord): void;
  syncSgForCpu(record: SgRecord): void;
  syncSgForDevice(record: SgRecord): void;
  needSgSync(record: SgRecord): boolean;
}

/** The parts of a list whose elements were not mapped one by one. */
const NO_PARTS: readonly MappingRecord[] = [];

/** The state of one mapped list. */
export class SgRecord extends LiveRecord {
  /** The segments that the driver gives to the device. */
  readonly segments: SegmentList;
  /** The number of elements in the list. */
  nents = 0;
  /** Bytes of all elements. */
  size = 0;
  /** DEVICE_READS and DEVICE_WRITES bits. */
  bits = 0;
  attributes = 0;
  way: MappingWay = 'arithmetic';
  /** One mapping per element, if the elements were mapped one by one. */
  parts: readonly MappingRecord[] = NO_PARTS;
  /** The copies that sync the parts in one call. They are undefined until a sync first tries that. */
  batchIn: SgBatch | undefined = undefined;
  batchOut: SgBatch | undefined = undefined;
  /** The IOVA range of all elements, if they were given addresses of their own. */
  run: PinnedList | undefined = undefined;
  /** The views that need cache maintenance, and their lengths when they were mapped. */
  readonly cached: Uint8Array[] = [];
  cachedLengths: readonly number[] = [];
  readonly handle: SgMapping;

  private readonly owner: SgOwner;
  private readonly pool: DmaSegment[] = [];
  private shown: readonly DmaSegment[] = [];

  constructor(owner: SgOwner, limits: SegmentLimits) {
    super();
    this.owner = owner;
    this.segments = new SegmentList(limits);
    this.handle = new SgMapping(owner, this);
  }

  end(state: number): void {
    this.state = state;
    this.parts = NO_PARTS;
    this.run = undefined;
    this.batchIn?.clear();
    this.batchOut?.clear();
    if (this.cached.length > 0) this.cached.length = 0;
  }

  /** An object for each segment. The objects are made when first asked for, and stay the same ever after. */
  objects(): readonly DmaSegment[] {
    const { count } = this.segments;
    if (this.shown.length === count) return this.shown;
    for (let i = this.pool.length; i < count; i++) this.pool.push(new DmaSegment(this, i));
    this.shown = this.pool.slice(0, count);
    return this.shown;
  }

  /** Set the attributes that the list and its elements are unmapped with. @throws DmaError EINVAL */
  endWith(attributes: number): void {
    this.attributes = endAttributes(this.attributes, attributes);
    for (const part of this.parts) part.attributes = this.attributes;
  }

  /** Set the direction of the list and of its elements, as DEVICE_READS and DEVICE_WRITES bits. */
  setBits(bits: number): void {
    this.bits = bits;
    for (const part of this.parts) part.bits = bits;
  }

  /** @throws DmaError EINVAL unless the list is mapped */
  checkMapped(misuse: Misuse = 'used-after-release'): void {
    if (this.state === MAPPED) return;
    const closed = this.state === REVOKED;
    const error = new DmaError(
      'EINVAL',
      `a mapped list of ${this.nents} elements was used after ${closed ? 'its device was closed' : 'it was unmapped'}`,
      {
        remedy: closed
          ? 'unmap everything before closing the device'
          : 'keep it until the device is done with it, and unmap it once',
      },
    );
    throw this.owner.refuse(misuse, this, error);
  }
}

const WORD = 2 ** 32;

/** One contiguous piece of a mapped list, as the device sees it (sg_dma_address, sg_dma_len). */
export class DmaSegment {
  readonly #record: SgRecord;
  readonly #index: number;
  #dmaAddress = 0n;
  /** The address that `#dmaAddress` was computed from. */
  #cached = 0;

  /** @internal */
  constructor(record: SgRecord, index: number) {
    this.#record = record;
    this.#index = index;
  }

  /** The address of the first byte for the device. @throws DmaError EINVAL once unmapped */
  get dmaAddress(): bigint {
    const address = this.#address();
    if (this.#cached !== address) {
      this.#dmaAddress = BigInt(address);
      this.#cached = address;
    }
    return this.#dmaAddress;
  }

  /** The address bits 0 to 31, for descriptors with split fields. @throws DmaError EINVAL once unmapped */
  get low(): number {
    return this.#address() >>> 0;
  }

  /** The address bits 32 to 63. @throws DmaError EINVAL once unmapped */
  get high(): number {
    return Math.floor(this.#address() / WORD);
  }

  /** Bytes. @throws DmaError EINVAL once unmapped */
  get length(): number {
    this.#check();
    return this.#record.segments.lengths[this.#index]!;
  }

  #address(): number {
    this.#check();
    return this.#record.segments.addresses[this.#index]!;
  }

  #check(): void {
    const record = this.#record;
    if (record.state !== MAPPED) record.checkMapped();
    if (this.#index >= record.segments.count) throw staleSegment(this.#index, record.segments.count);
  }
}

function staleSegment(index: number, count: number): DmaError {
  return new DmaError('EINVAL', `segment ${index} of a mapped list that has ${count} now`, {
    remedy: 'take the segments from the mapping each time, and drop them when it is unmapped',
  });
}

/**
 * A list mapped for the device by `DmaDevice.mapSg` (dma_map_sg, dma_map_sgtable). The CPU must not touch it until
 * `unmap` or `syncForCpu`, which always cover the whole list. Handles are recycled: drop your reference to one after
 * `unmap`.
 */
export class SgMapping {
  readonly #owner: SgOwner;
  readonly #record: SgRecord;

  /** @internal */
  constructor(owner: SgOwner, record: SgRecord) {
    this.#owner = owner;
    this.#record = record;
  }

  /**
   * The segments that the driver gives to the device, in order. There are never more than `nents` (sgt.nents).
   * @throws DmaError EINVAL once unmapped
   */
  get segments(): readonly DmaSegment[] {
    this.#record.checkMapped();
    return this.#record.objects();
  }

  /** The number of elements in the list (sgt.orig_nents). */
  get nents(): number {
    return this.#record.nents;
  }

  /** Bytes mapped. */
  get size(): number {
    return this.#record.size;
  }

  /** The direction that the list was mapped with. */
  get direction(): DmaDirection {
    return directionOf(this.#record.bits);
  }

  /**
   * 'arithmetic': all the memory had device addresses before. 'pinned': the device uses it in place. 'bounced': the
   * device has a copy of some of it.
   */
  get way(): MappingWay {
    return this.#record.way;
  }

  /** True if the device works on a copy of any element. */
  get bounced(): boolean {
    return this.#record.way === 'bounced';
  }

  /** False once the list was unmapped, or the device was closed. */
  get mapped(): boolean {
    return this.#record.state === MAPPED;
  }

  /** True if syncs do anything (dma_need_sync). @throws DmaError EINVAL once unmapped */
  get needSync(): boolean {
    this.#record.checkMapped();
    return this.#owner.needSgSync(this.#record);
  }

  /**
   * Unmap the whole list (dma_unmap_sg). The caller's bytes hold the device's writes afterwards, unless
   * DMA_ATTR.SKIP_CPU_SYNC is among the attributes.
   * @param attributes the attributes of the unmap (dma_unmap_sg_attrs). Default: those it was mapped with.
   * @throws DmaError EINVAL unmapped before · EINVAL a buffer of the list was detached meanwhile: everything has been
   *   released, and the other elements copied
   */
  unmap(attributes?: number): void {
    const record = this.#record;
    if (record.state !== MAPPED) record.checkMapped('released-twice');
    if (attributes !== undefined) record.endWith(attributes);
    this.#owner.unmapSg(record);
  }

  /**
   * Give the whole list to the CPU for now (dma_sync_sg_for_cpu). It throws as `unmap`.
   * @param direction for a bidirectional list: sync this direction only. Default: the list's.
   */
  syncForCpu(direction?: DmaDirection): void {
    const record = this.#record;
    if (record.state !== MAPPED) record.checkMapped();
    if (direction === undefined) this.#owner.syncSgForCpu(record);
    else syncOneWay(this.#owner, 'syncSgForCpu', record, direction);
  }

  /** Give the whole list to the device again (dma_sync_sg_for_device). It is otherwise as `syncForCpu`. */
  syncForDevice(direction?: DmaDirection): void {
    const record = this.#record;
    if (record.state !== MAPPED) record.checkMapped();
    if (direction === undefined) this.#owner.syncSgForDevice(record);
    else syncOneWay(this.#owner, 'syncSgForDevice', record, direction);
  }

  /** Unmap the list if it is still mapped. This is harmless after `unmap`. */
  [Symbol.dispose](): void {
    if (this.#record.state === MAPPED) this.#owner.unmapSg(this.#record);
  }
}

/** Sync a list in one of its directions. @throws DmaError EINVAL not one of its directions */
function syncOneWay(
  owner: SgOwner,
  sync: 'syncSgForCpu' | 'syncSgForDevice',
  record: SgRecord,
  direction: DmaDirection,
): void {
  const { bits } = record;
  record.setBits(bitsOneWay(bits, direction));
  try {
    owner[sync](record);
  } finally {
    record.setBits(bits);
  }
}
