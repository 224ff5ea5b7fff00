/**
 * Mappings of the device's own memory. It has an address already, so nothing is mapped and nothing is copied. The
 * only work left is to maintain the caches of a device that does not see them. Coherent memory never needs that.
 */

import type { CacheMaintenance } from '../../cache.ts';
import { directionOf } from '../../direction.ts';
import type { OwnRegion } from '../operations/own-memory.ts';
import { DMA_ATTR } from '../words/attributes.ts';
import type { MappingRecord } from './mapping.ts';
import type { MappingTable } from './table.ts';

/** The mappings of memory that has a device address already. */
export class ArithmeticMappings {
  private readonly table: MappingTable;
  private readonly cache: CacheMaintenance | undefined;

  constructor(table: MappingTable, cache: CacheMaintenance | undefined) {
    this.table = table;
    this.cache = cache;
  }

  /** Map bytes [offset, offset + size) of a region. */
  map(region: OwnRegion, offset: number, size: number, bits: number, attributes: number): MappingRecord {
    const record = this.table.take(size, bits, attributes, 'arithmetic');
    record.address = region.address + offset;
    record.region = region;
    if (this.cache !== undefined && (attributes & DMA_ATTR.SKIP_CPU_SYNC) === 0) {
      this.syncForDevice(record, 0, size);
    }
    return record;
  }

  unmap(record: MappingRecord): void {
    if (this.cache === undefined || (record.attributes & DMA_ATTR.SKIP_CPU_SYNC) !== 0) return;
    this.syncForCpu(record, 0, record.size);
  }

  syncForCpu({ region, address, bits }: MappingRecord, offset: number, size: number): void {
    if (this.cache === undefined || region!.coherent) return;
    this.cache.syncForCpu(region!.buffer, address - region!.address + offset, size, directionOf(bits));
  }

  syncForDevice({ region, address, bits }: MappingRecord, offset: number, size: number): void {
    if (this.cache === undefined || region!.coherent) return;
    this.cache.syncForDevice(region!.buffer, address - region!.address + offset, size, directionOf(bits));
  }
}
