/** The streaming mappings of a device. */

import type { MappingRecord, MappingWay } from './mapping.ts';
import { RecordTable } from './record-table.ts';

/** The records of one device's mappings. */
export class MappingTable extends RecordTable<MappingRecord> {
  /**
   * Take a record, which is MAPPED from here on. The caller fills in the address and the other fields of its way
   * itself: V8 would allocate an address on the heap that is passed from function to function.
   */
  take(size: number, bits: number, attributes: number, way: MappingWay): MappingRecord {
    const record = this.unused();
    record.size = size;
    record.bits = bits;
    record.attributes = attributes;
    record.way = way;
    record.bigAddress = undefined;
    this.enter(record);
    return record;
  }
}
