/**
 * A streaming mapping: the handle that a driver holds, and the record behind it.
 *
 *      StreamingMapping   the driver's handle; every call asks the record
 *      MappingRecord      its state, filled in and read by streaming.ts and scatter-gather
 *
 * A handle and its record are made together once, and are recycled together. They wait in a ring, so that a handle is
 * used again only after the ring's minimum of others (record-ring.ts). A second `unmap` therefore finds the handle
 * still unmapped.
 */

import { describe } from '../../arguments.ts';
import { type DmaDirection, directionBits, directionOf } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import type { BounceChunk } from '../bounce/chunk.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import type { OwnRegion } from '../operations/own-memory.ts';
import type { PinnedView } from '../placement/pinned-view.ts';
import { endAttributes } from '../words/attributes.ts';
import type { Misuse, Refuser } from '../words/misuse.ts';
import { LiveRecord, MAPPED, REVOKED, type RecordMaker } from './record-table.ts';

/**
 * How the device reaches the memory: it had an address already ('arithmetic'), in place ('pinned'), or through a copy
 * ('bounced'). A 'resource' is not memory but registers.
 */
export type MappingWay = 'arithmetic' | 'pinned' | 'bounced' | 'resource';

/** The maker of a mapping. */
export interface MappingOwner extends Refuser<MappingRecord>, RecordMaker<MappingRecord> {
  unmap(record: MappingRecord): void;
  syncForCpu(record: MappingRecord, offset: number, size: number): void;
  syncForDevice(record: MappingRecord, offset: number, size: number): void;
  needSync(record: MappingRecord): boolean;
}

/** The state of one streaming mapping. */
export class MappingRecord extends LiveRecord {
  /** The device address of the first byte. It does not start as a small integer, so that V8 keeps it unboxed. */
  address = 0.5;
  size = 0;
  /** DEVICE_READS and DEVICE_WRITES bits. */
  bits = 0;
  attributes = 0;
  way: MappingWay = 'arithmetic';
  /** The caller's bytes of a bounced mapping, exactly `size` of them. It is undefined for other mappings. */
  source: Uint8Array | undefined = undefined;
  /** The region, if the memory is the device's own and is not bounced. */
  region: OwnRegion | undefined = undefined;
  /** The first bounce slot if the memory is bounced, and the chunk of the slot, which is looked up once. */
  slot = -1;
  chunk: BounceChunk | undefined = undefined;
  /** The offset in the slots of the first byte. */
  slotOffset = 0;
  /** True if another mapping frees the slots: a later one in the same chain of a list. */
  borrows = false;
  pinned: PinnedView | undefined = undefined;
  /** The device addresses of mapped registers. */
  range: DeviceRange | undefined = undefined;
  /** The part of `source` that was synced last. It is kept because making a view costs more than a copy. */
  part: Uint8Array | undefined = undefined;
  partOffset = 0;
  bigAddress: bigint | undefined = undefined;
  readonly handle: StreamingMapping;

  constructor(owner: MappingOwner) {
    super();
    this.handle = new StreamingMapping(owner, this);
  }

  end(state: number): void {
    this.state = state;
    this.source = undefined;
    this.borrows = false;
    this.part = undefined;
    this.region = undefined;
    this.pinned = undefined;
    this.range = undefined;
  }
}

/**
 * Memory mapped for the device by `DmaDevice.mapSingle` (dma_map_single). The CPU must not touch it until `unmap` or
 * `syncForCpu`. Handles are recycled: drop your reference to one after `unmap`.
 */
export class StreamingMapping {
  readonly #owner: MappingOwner;
  readonly #record: MappingRecord;

  /** @internal */
  constructor(owner: MappingOwner, record: MappingRecord) {
    this.#owner = owner;
    this.#record = record;
  }

  /** The address of the first byte for the device. @throws DmaError EINVAL once unmapped */
  get dmaAddress(): bigint {
    const record = this.#mapped();
    record.bigAddress ??= BigInt(record.address);
    return record.bigAddress;
  }

  /** The address bits 0 to 31, for descriptors with split fields. @throws DmaError EINVAL once unmapped */
  get low(): number {
    return this.#mapped().address >>> 0;
  }

  /** The address bits 32 to 63. @throws DmaError EINVAL once unmapped */
  get high(): number {
    const { address } = this.#mapped();
    return (address - (address >>> 0)) / 2 ** 32;
  }

  /** Bytes mapped. */
  get size(): number {
    return this.#record.size;
  }

  /** The direction that the memory was mapped with. */
  get direction(): DmaDirection {
    return directionOf(this.#record.bits);
  }

  /**
   * 'arithmetic': the memory had a device address before. 'pinned': the device uses it in place. 'bounced': the
   * device has a copy. 'resource': the mapping is of registers.
   */
  get way(): MappingWay {
    return this.#record.way;
  }

  /** True if the device works on a copy of all of it. */
  get bounced(): boolean {
    return this.#record.way === 'bounced';
  }

  /** False once the mapping was unmapped, or the device was closed. */
  get mapped(): boolean {
    return this.#record.state === MAPPED;
  }

  /** True if syncs do anything (dma_need_sync). @throws DmaError EINVAL once unmapped */
  get needSync(): boolean {
    return this.#owner.needSync(this.#mapped());
  }

  /**
   * Unmap the memory (dma_unmap_single). The caller's bytes hold the device's writes afterwards, unless
   * DMA_ATTR.SKIP_CPU_SYNC is among the attributes.
   * @param attributes the attributes of the unmap (dma_unmap_single_attrs). Default: those it was mapped with.
   * @throws DmaError EINVAL unmapped before · EINVAL the caller's buffer was detached meanwhile: everything has been
   *   released, and nothing copied
   */
  unmap(attributes?: number): void {
    const record = this.#record;
    if (record.state !== MAPPED) throw this.#notMapped('released-twice');
    if (attributes !== undefined) record.attributes = endAttributes(record.attributes, attributes);
    this.#owner.unmap(record);
  }

  /**
   * Give bytes [offset, offset + size) to the CPU for now (dma_sync_single_range_for_cpu). No other bytes change. By
   * default the sync covers all bytes from `offset` on. A sync of 0 bytes does nothing.
   * @param direction for a bidirectional mapping: sync this direction only. Default: the mapping's.
   * @throws DmaError EINVAL unmapped · EINVAL not inside the mapping, or not its direction · EINVAL the caller's
   *   buffer was detached
   */
  syncForCpu(offset = 0, size: number = this.#rest(offset), direction?: DmaDirection): void {
    const record = this.#record;
    if (!isLive(record, offset, size)) this.#syncNothing(offset, size);
    else if (direction === undefined) this.#owner.syncForCpu(record, offset, size);
    else syncOneWay(this.#owner, 'syncForCpu', record, offset, size, direction);
  }

  /**
   * Give bytes [offset, offset + size) to the device again (dma_sync_single_range_for_device). It is otherwise as
   * `syncForCpu`.
   */
  syncForDevice(offset = 0, size: number = this.#rest(offset), direction?: DmaDirection): void {
    const record = this.#record;
    if (!isLive(record, offset, size)) this.#syncNothing(offset, size);
    else if (direction === undefined) this.#owner.syncForDevice(record, offset, size);
    else syncOneWay(this.#owner, 'syncForDevice', record, offset, size, direction);
  }

  /** Unmap the memory if it is still mapped. This is harmless after `unmap`. */
  [Symbol.dispose](): void {
    if (this.#record.state === MAPPED) this.#owner.unmap(this.#record);
  }

  /** The bytes from `offset` on. It computes nothing with an offset that is not a number. */
  #rest(offset: number): number {
    return typeof offset === 'number' ? this.#record.size - offset : 0;
  }

  #mapped(): MappingRecord {
    const record = this.#record;
    if (record.state !== MAPPED) throw this.#notMapped('used-after-release');
    return record;
  }

  #notMapped(misuse: Misuse): DmaError {
    const record = this.#record;
    return this.#owner.refuse(misuse, record, notMapped(record));
  }

  /** A sync of 0 bytes inside the mapping does nothing. @throws DmaError EINVAL unmapped, or not inside the mapping */
  #syncNothing(offset: number, size: number): void {
    const record = this.#mapped();
    if (size === 0 && (offset === record.size || isLive(record, offset, 1))) return;
    throw this.#owner.refuse('sync-out-of-range', record, outside(record, offset, size));
  }
}

/**
 * The bits of one direction of a mapping.
 * @throws DmaError EINVAL the mapping does not have this direction
 */
export function bitsOneWay(bits: number, direction: DmaDirection): number {
  const wanted = directionBits(direction);
  if ((wanted & ~bits) === 0) return wanted;
  throw new DmaError('EINVAL', `a sync ${direction} of a mapping ${directionOf(bits)}`, {
    remedy: 'sync in a direction that it was mapped for, or leave the direction out',
  });
}

/**
 * Sync a mapping in one of its directions. This is a separate function because a closure in the methods would cost
 * every sync an allocation.
 * @throws DmaError EINVAL not one of its directions
 */
function syncOneWay(
  owner: MappingOwner,
  sync: 'syncForCpu' | 'syncForDevice',
  record: MappingRecord,
  offset: number,
  size: number,
  direction: DmaDirection,
): void {
  const { bits } = record;
  record.bits = bitsOneWay(bits, direction);
  try {
    owner[sync](record, offset, size);
  } finally {
    record.bits = bits;
  }
}

/**
 * True for at least one byte of what is mapped. This is the one check of a good sync: V8 inlines only so much into a
 * driver's loop, so the rest is in `#syncNothing`.
 */
function isLive(record: MappingRecord, offset: number, size: number): boolean {
  if (record.state !== MAPPED || !Number.isSafeInteger(offset) || !Number.isSafeInteger(size)) return false;
  return offset >= 0 && size > 0 && size <= record.size - offset;
}

function notMapped({ size, state }: MappingRecord): DmaError {
  if (state === REVOKED) {
    return new DmaError('EINVAL', `a mapping of ${size} bytes was used after its device was closed`, {
      remedy: 'unmap everything before closing the device',
    });
  }
  return new DmaError('EINVAL', `a mapping of ${size} bytes was used after it was unmapped`, {
    remedy: 'keep it until the device is done with it, and unmap it once',
  });
}

function outside({ size: whole }: MappingRecord, offset: number, size: number): DmaError {
  return new DmaError(
    'EINVAL',
    `no ${describe(size)} bytes at offset ${describe(offset)} of a mapping of ${whole} bytes`,
    {
      remedy: 'sync a part of what is mapped',
    },
  );
}
