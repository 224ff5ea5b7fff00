/** An entry of the ledger: a mapping or an allocation. The record of a mapping is its own entry. */

import { DEVICE_READS, DEVICE_WRITES, directionOf } from '../direction.ts';
import type { Held } from '../dma/buffers/allocations.ts';
import type { DmaEntry, EntryType } from '../dma/debug-view.ts';
import type { PoolBlock } from '../dma/pool/block.ts';
import type { MappingWay } from '../dma/streaming/mapping.ts';
import type { DeviceAccess } from '../iommu/device-access.ts';
import type { Fault } from '../iommu/fault.ts';
import { describeSite, type Site } from './sites.ts';

export interface Entry {
  readonly type: EntryType;
  /** Device address of the first byte. For a list: the address of its first segment. */
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /** DEVICE_READS and DEVICE_WRITES bits. */
  readonly bits: number;
  /** How the mapping was made (arithmetic, bounced, ...); undefined for an allocation. */
  readonly way: MappingWay | undefined;
  /** The call site that made it; undefined if that was not kept. */
  readonly birth: Site | undefined;
  /** The call site that unmapped or freed it. */
  readonly death: Site | undefined;
  /**
   * The number of the event that recorded it or, after its end, of the event that ended it, among all events of the
   * device.
   */
  readonly serial: number;
  /** False after it was unmapped or freed. */
  readonly live: boolean;
}

/** The bit that `bits` of an entry must have for this access; 0 if the access is not known. */
export function neededFor({ access }: Pick<DeviceAccess | Fault, 'access'>): number {
  if (access === 'unknown') return 0;
  return access === 'read' ? DEVICE_READS : DEVICE_WRITES;
}

/** The entry of an allocation. */
export class HeldEntry implements Entry {
  readonly handle: Held | PoolBlock;
  readonly type: EntryType;
  readonly address: number;
  readonly size: number;
  readonly bits: number;
  readonly way = undefined;
  readonly birth: Site | undefined;
  death: Site | undefined = undefined;
  serial: number;
  live = true;
  /** The number in the index of reachable memory (address-index.ts); -1 while it is in no index. */
  place = -1;

  constructor(handle: Held | PoolBlock, place: Place, birth: Site | undefined, serial: number) {
    this.handle = handle;
    this.type = place.type;
    this.address = place.address;
    this.size = place.size;
    this.bits = place.bits ?? DEVICE_READS | DEVICE_WRITES;
    this.birth = birth;
    this.serial = serial;
  }
}

/** The address range of an allocation. */
export interface Place {
  readonly type: EntryType;
  readonly address: number;
  readonly size: number;
  /** Default: both. */
  readonly bits?: number;
}

/** The entry as `DmaDebugView.dump` shows it. */
export function describeEntry(entry: Entry): DmaEntry {
  const { type, address, size, bits, way, birth } = entry;
  return {
    type,
    address: BigInt(address),
    size,
    direction: directionOf(bits),
    way,
    get stack() {
      return describeSite(birth);
    },
  };
}
