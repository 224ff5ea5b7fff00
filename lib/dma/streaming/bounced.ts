/**
 * Mappings that go through the bounce buffer, with swiotlb's table of copies (kernel/dma/swiotlb.c):
 *
 *                          to-device     from-device        bidirectional
 *      map                 in            in                 in
 *      sync for device     in, slice     -                  in, slice
 *      sync for CPU        -             out, slice         out, slice
 *      unmap               -             out (*)            out (*)      (*) not with SKIP_CPU_SYNC
 *
 * A from-device mapping is copied in too, so that the bytes that the device does not write stay as they are. Without
 * that copy, the caller would get old bytes of another mapping in their place.
 */

import type { CacheMaintenance } from '../../cache.ts';
import { DEVICE_READS, DEVICE_WRITES, directionOf } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import type { BounceBuffer } from '../bounce/bounce.ts';
import { SLOT_SIZE } from '../bounce/slots.ts';
import type { DmaOperations } from '../operations/operations.ts';
import { crossesBoundary } from '../placement/segments.ts';
import { DMA_ATTR } from '../words/attributes.ts';
import type { DmaLimits } from './limits.ts';
import type { MappingRecord } from './mapping.ts';
import type { MappingTable } from './table.ts';

/** The mappings of memory that is copied to and from the bounce buffer. */
export class BouncedMappings {
  protected readonly operations: DmaOperations;
  protected readonly bounce: BounceBuffer;
  protected readonly table: MappingTable;
  private readonly limits: DmaLimits;
  protected readonly cache: CacheMaintenance | undefined;
  private readonly translated: boolean;

  constructor(
    operations: DmaOperations,
    bounce: BounceBuffer,
    table: MappingTable,
    limits: DmaLimits,
    cache: CacheMaintenance | undefined,
  ) {
    this.operations = operations;
    this.bounce = bounce;
    this.table = table;
    this.limits = limits;
    this.cache = cache;
    this.translated = operations.mergeBoundary !== 0;
  }

  /**
   * Bytes of the longest mapping (swiotlb_max_mapping_size). Behind an IOMMU the segment boundary concerns lists
   * only, as in iommu_dma_map_page. Without an IOMMU, swiotlb chooses the address of the memory, and it respects the
   * boundary.
   */
  get maxMappingSize(): number {
    const { minAlignMask, segmentBoundary } = this.limits;
    const { maxMapping } = this.bounce;
    const whole = maxMapping - Math.ceil(minAlignMask / SLOT_SIZE) * SLOT_SIZE;
    const most = whole > 0 ? whole : Math.max(0, maxMapping - minAlignMask);
    return this.translated
      ? most
      : Math.min(most, segmentBoundary + 1 - Math.min(minAlignMask, segmentBoundary));
  }

  /**
   * Map memory through the bounce buffer (swiotlb_map).
   * @throws DmaError EPERM it must not bounce · ENOMEM too long, or no room
   */
  map(source: Uint8Array, bits: number, attributes: number): MappingRecord {
    const { bounce, limits } = this;
    const { minAlignMask } = limits;
    const size = source.length;
    if ((attributes & DMA_ATTR.REQUIRE_COHERENT) !== 0) throw mustBounce(size);
    const pad = minAlignMask === 0 ? 0 : this.lowBits(source) & minAlignMask & ~limits.dmaAlignment;
    if (size > bounce.maxMapping || minAlignMask !== 0 || size - 1 > limits.segmentBoundary) {
      this.checkSize(size, pad);
    }
    const slot = bounce.take(size, pad, minAlignMask + 1);
    const chunk = bounce.chunkOf(slot);
    chunk.copyIn(slot, pad, source);
    bounce.countIn(size);
    const record = this.table.take(size, bits, attributes, 'bounced');
    record.address = chunk.addressOf(slot) + pad;
    record.chunk = chunk;
    record.source = source;
    record.slot = slot;
    record.slotOffset = pad;
    if (this.cache !== undefined && (attributes & DMA_ATTR.SKIP_CPU_SYNC) === 0) this.clean(record, 0, size);
    return record;
  }

  /**
   * Map pieces of memory side by side, so that the device sees one piece. Each piece has a mapping. The slots belong
   * to the last mapping. All pieces but the first start at a granule, and all but the last end at one.
   * @param pad the offset in its granule at which the first piece starts
   * @throws DmaError EPERM, ENOMEM as `map`
   */
  mapChain(sources: readonly Uint8Array[], pad: number, bits: number, attributes: number): MappingRecord[] {
    const { bounce } = this;
    const total = sources.reduce((sum, { length }) => sum + length, 0);
    if ((attributes & DMA_ATTR.REQUIRE_COHERENT) !== 0) throw mustBounce(total);
    const slot = bounce.take(total, pad, this.operations.granule);
    const chunk = bounce.chunkOf(slot);
    const last = sources.length - 1;
    let at = pad;
    return sources.map((source, i) => {
      bounce.copyIn(slot, at, source);
      const record = this.table.take(source.length, bits, attributes, 'bounced');
      record.address = chunk.addressOf(slot) + at;
      record.chunk = chunk;
      record.source = source;
      record.slot = slot;
      record.slotOffset = at;
      record.borrows = i < last;
      at += source.length;
      if (this.cache !== undefined && (attributes & DMA_ATTR.SKIP_CPU_SYNC) === 0) {
        this.clean(record, 0, source.length);
      }
      return record;
    });
  }

  /** Unmap a record (swiotlb_tbl_unmap_single). False if the caller's buffer was detached and its bytes are lost. */
  unmap(record: MappingRecord): boolean {
    const { size, slot } = record;
    let intact = true;
    const skips = (record.attributes & DMA_ATTR.SKIP_CPU_SYNC) !== 0;
    const written = (record.bits & DEVICE_WRITES) !== 0;
    // This is needed even if nothing is copied: the CPU and the device must agree about a slot that is used again.
    if (this.cache !== undefined && (written || !skips)) this.invalidate(record, 0, size);
    if (written && !skips) {
      const source = record.source!;
      intact = source.length === size;
      if (intact) {
        source.set(record.chunk!.whole(slot, record.slotOffset, size));
        this.bounce.countOut(size);
      }
    }
    if (!record.borrows) this.bounce.give(slot);
    return intact;
  }

  /** Sync for the CPU (swiotlb_sync_single_for_cpu). False if the caller's buffer was detached. */
  syncForCpu(record: MappingRecord, offset: number, size: number): boolean {
    if (this.cache !== undefined) this.invalidate(record, offset, size);
    if ((record.bits & DEVICE_WRITES) === 0) return true;
    const source = record.source!;
    if (source.length !== record.size) return false;
    const { slot } = record;
    const chunk = record.chunk!;
    const at = record.slotOffset + offset;
    source.set(size === record.size ? chunk.whole(slot, at, size) : chunk.part(slot, at, size), offset);
    this.bounce.countOut(size);
    return true;
  }

  /** Sync for the device (swiotlb_sync_single_for_device). False if the caller's buffer was detached. */
  syncForDevice(record: MappingRecord, offset: number, size: number): boolean {
    let intact = true;
    if ((record.bits & DEVICE_READS) !== 0) {
      const source = record.source!;
      intact = source.length === record.size;
      if (intact) {
        const bytes = size === record.size ? source : partOf(record, source, offset, size);
        record.chunk!.copyIn(record.slot, record.slotOffset + offset, bytes);
        this.bounce.countIn(size);
      }
    }
    if (this.cache !== undefined) this.clean(record, offset, size);
    return intact;
  }

  /** The low bits of the bytes' device address if they have one, otherwise of their offset for the CPU. */
  private lowBits(source: Uint8Array): number {
    const { buffer, byteOffset } = source;
    const region = this.operations.own.regionOf(buffer);
    return region === undefined
      ? this.operations.pageOffset(buffer) + byteOffset
      : (region.address + byteOffset) | 0;
  }

  /** A run of slots starts at a multiple of its length and of the minimum alignment, so `pad` decides what it crosses. */
  private checkSize(size: number, pad: number): void {
    const { maxMapping } = this.bounce;
    const crosses = !this.translated && crossesBoundary(pad, size, this.limits.segmentBoundary);
    if (pad + size <= maxMapping && !crosses) return;
    throw this.bounce.refuse(size, `a bounced mapping has at most ${this.maxMappingSize}`);
  }

  private clean({ chunk, slot, slotOffset, bits }: MappingRecord, offset: number, size: number): void {
    const at = chunk!.offset(slot) + slotOffset + offset;
    this.cache!.syncForDevice(chunk!.arena.buffer, at, size, directionOf(bits));
  }

  private invalidate({ chunk, slot, slotOffset, bits }: MappingRecord, offset: number, size: number): void {
    const at = chunk!.offset(slot) + slotOffset + offset;
    this.cache!.syncForCpu(chunk!.arena.buffer, at, size, directionOf(bits));
  }
}

/** Bytes [offset, offset + size) of the caller's memory. The view is kept for the next sync of the same bytes. */
function partOf(record: MappingRecord, source: Uint8Array, offset: number, size: number): Uint8Array {
  const kept = record.part;
  if (kept !== undefined && kept.length === size && record.partOffset === offset) return kept;
  const part = new Uint8Array(source.buffer, source.byteOffset + offset, size);
  record.part = part;
  record.partOffset = offset;
  return part;
}

function mustBounce(size: number): DmaError {
  return new DmaError(
    'EPERM',
    `${size} bytes would have to be copied, and DMA_ATTR.REQUIRE_COHERENT was given`,
    {
      remedy: 'use memory of the device (allocCoherent, a pool), or leave it out and sync',
    },
  );
}
