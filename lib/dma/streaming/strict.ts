/**
 * Bounced mappings of `isolation: 'strict'` (iommu_dma_map_page of drivers/iommu/dma-iommu.c for a device that is not
 * trusted, with iommu.strict=1). The device reaches the granules of a mapping, as the mapping's direction allows.
 * They are mapped once they are filled, and unmapped before anything is copied out.
 *
 *      run of slots     |0000xxxx|xxxxxxxx|xx000000|00000000|     x: bytes of the mapping
 *      for the device   |<---- the mapping's own ->| nothing
 */
import { accessFor } from '../../iommu/access.ts';
import { BouncedMappings } from './bounced.ts';
import type { MappingRecord } from './mapping.ts';

/** Bounced mappings that the device reaches in whole granules, by direction, and only until they are copied out. */
export class StrictBouncedMappings extends BouncedMappings {
  override map(source: Uint8Array, bits: number, attributes: number): MappingRecord {
    const record = super.map(source, bits, attributes);
    this.placeAll([record]);
    return record;
  }

  /** The pieces share no granule. */
  override mapChain(
    sources: readonly Uint8Array[],
    pad: number,
    bits: number,
    attributes: number,
  ): MappingRecord[] {
    const records = super.mapChain(sources, pad, bits, attributes);
    this.placeAll(records);
    return records;
  }

  override unmap(record: MappingRecord): boolean {
    this.operations.unmap(record.address - this.lead(record), this.spanOf(record));
    return super.unmap(record);
  }

  /** Map all records or none. If one fails, the slots and the records are freed. */
  private placeAll(records: readonly MappingRecord[]): void {
    const { operations, bounce, table } = this;
    let placed = 0;
    try {
      for (const record of records) {
        const { slot, slotOffset, address, bits } = record;
        const lead = this.lead(record);
        const { buffer } = bounce.arena(slot);
        const offset = bounce.arenaOffset(slot) + slotOffset - lead;
        operations.map(address - lead, buffer, offset, this.spanOf(record), accessFor(bits));
        placed++;
      }
    } catch (error) {
      for (const record of records.slice(0, placed)) {
        operations.unmap(record.address - this.lead(record), this.spanOf(record));
      }
      bounce.give(records[0]!.slot);
      for (const record of records) table.leave(record);
      throw error;
    }
  }

  /** The offset of the first byte in its granule. */
  private lead({ slotOffset }: MappingRecord): number {
    return slotOffset % this.operations.granule;
  }

  /** Bytes of the granules of a mapping. */
  private spanOf(record: MappingRecord): number {
    const { granule } = this.operations;
    return Math.ceil((this.lead(record) + record.size) / granule) * granule;
  }
}
