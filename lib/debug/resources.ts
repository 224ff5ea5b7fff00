/** Mappings of registers that are recorded in the ledger. */
import type { MappingRecord } from '../dma/streaming/mapping.ts';
import { type ResourceDevice, ResourceMappings } from '../dma/streaming/resource.ts';
import type { Misuse } from '../dma/words/misuse.ts';
import type { DmaError } from '../errors.ts';
import type { DmaDebug } from './debug.ts';
import { DebugRecord } from './records.ts';

/** The mappings of registers. Each is recorded in the ledger of dma-debug. */
export class DebugResources extends ResourceMappings {
  private readonly debug: DmaDebug;

  constructor(debug: DmaDebug, device: ResourceDevice) {
    super(device);
    this.debug = debug;
    debug.ledger.addTable(this.table as Iterable<DebugRecord>);
  }

  override map(...resource: Parameters<ResourceMappings['map']>): MappingRecord {
    const record = super.map(...resource) as DebugRecord;
    const { debug } = this;
    if (debug.disabled) return record;
    record.type = 'resource';
    debug.ledger.enter(record);
    debug.watch?.mapped(record);
    return record;
  }

  override unmap(record: MappingRecord): void {
    const known = record as DebugRecord;
    if (known.entered) {
      this.debug.ledger.leave(known);
      this.debug.watch?.unmapping(known);
    }
    super.unmap(record);
  }

  override newRecord(): MappingRecord {
    return new DebugRecord(this);
  }

  override refuse(misuse: Misuse, record: MappingRecord, error: DmaError): DmaError {
    return this.debug.refused(misuse, record as DebugRecord, error);
  }
}
