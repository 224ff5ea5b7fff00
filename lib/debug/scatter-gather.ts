/** Mapped lists that are recorded in the ledger, and whose segments are compared with the device's limits. */
import { DEVICE_WRITES, type DmaDirection } from '../direction.ts';
import type { SgRecord } from '../dma/sg/mapping.ts';
import { ScatterGather, type SgContext } from '../dma/sg/scatter-gather.ts';
import type { Misuse } from '../dma/words/misuse.ts';
import type { DmaError } from '../errors.ts';
import type { DmaDebug } from './debug.ts';
import { type DebugRecord, DebugSgRecord, NO_VIEWS } from './records.ts';
import type { DebugStreaming } from './streaming.ts';

/** The mapped lists of a device. Each is recorded in the ledger of dma-debug. */
export class DebugScatterGather extends ScatterGather {
  private readonly debug: DmaDebug;
  private readonly elements: DebugStreaming;

  constructor(debug: DmaDebug, context: SgContext) {
    super(context);
    this.debug = debug;
    this.elements = context.streaming as DebugStreaming;
    debug.ledger.addTable(this.table as Iterable<DebugSgRecord>);
  }

  override map(views: readonly ArrayBufferView[], direction: DmaDirection, attributes: number): SgRecord {
    const { debug } = this;
    const record = super.map(views, direction, attributes) as DebugSgRecord;
    if (debug.disabled) return record;
    record.views = views;
    debug.ledger.enter(record);
    this.checkSegments(record);
    if (record.parts.length === 0) this.enterBytes(record);
    else if (record.birth !== undefined) this.markParts(record);
    debug.watch?.mapped(record);
    return record;
  }

  override unmapSg(record: SgRecord): void {
    const known = record as DebugSgRecord;
    if (known.entered) this.leave(known);
    super.unmapSg(record);
  }

  override syncSgForCpu(record: SgRecord): void {
    const { watch } = this.debug;
    watch?.syncingForCpu(record as DebugSgRecord, 0, record.size);
    super.syncSgForCpu(record);
    watch?.syncedForCpu(record as DebugSgRecord, 0, record.size);
  }

  override syncSgForDevice(record: SgRecord): void {
    const { watch } = this.debug;
    watch?.syncingForDevice(record as DebugSgRecord, 0, record.size);
    super.syncSgForDevice(record);
    watch?.syncedForDevice(record as DebugSgRecord, 0, record.size);
  }

  /** After this device closes, its mappings no longer conflict with those of other devices. */
  override close(): void {
    const { overlaps } = this.elements;
    for (const { places } of this.table as Iterable<DebugSgRecord>) {
      while (places.length > 0) overlaps.leave(places.pop()!);
    }
    super.close();
  }

  override newRecord(): SgRecord {
    return new DebugSgRecord(this, this.limits);
  }

  override refuse(misuse: Misuse, record: SgRecord, error: DmaError): DmaError {
    return this.debug.refused(misuse, record as DebugSgRecord, error);
  }

  /** The check of check_sg_segment. */
  private checkSegments(record: DebugSgRecord): void {
    const { count, addresses, lengths } = record.segments;
    const { maxSegmentSize, segmentBoundary } = this.elements.limits;
    // The divisor is a power of two, so multiplying by its reciprocal is exact, and faster.
    const pieces = 1 / (segmentBoundary + 1);
    for (let i = 0; i < count; i++) {
      const length = lengths[i]!;
      if (length > maxSegmentSize) {
        const message = `a segment of ${length} bytes is longer than the ${maxSegmentSize} the device claims to support`;
        const remedy = 'cut the element, or set limits.maxSegmentSize to the limit of the device';
        this.debug.mistake('segment-too-long', `${message}; ${remedy}`, record);
      }
      const address = addresses[i]!;
      if (Math.floor(address * pieces) !== Math.floor((address + length - 1) * pieces)) {
        const message = `a segment of ${length} bytes crosses a multiple of 0x${(segmentBoundary + 1).toString(16)}`;
        const remedy = 'align the element, or set limits.segmentBoundary to the limit of the device';
        this.debug.mistake('segment-crosses-boundary', `${message}; ${remedy}`, record);
      }
    }
  }

  /** Elements that were mapped one by one have recorded their bytes themselves. */
  private enterBytes(record: DebugSgRecord): void {
    if (record.way === 'arithmetic') this.enterOwnBytes(record);
    else if ((record.bits & DEVICE_WRITES) !== 0) this.enterForeignBytes(record);
  }

  private markParts({ parts, birth }: DebugSgRecord): void {
    for (const part of parts) (part as DebugRecord).birth = birth;
  }

  private enterOwnBytes(record: DebugSgRecord): void {
    const { overlaps } = this.elements;
    const { bits, places, linePlaces, attributes, cached } = record;
    if ((bits & DEVICE_WRITES) !== 0) {
      const { count, addresses, lengths } = record.segments;
      for (let i = 0; i < count; ) {
        const start = addresses[i]!;
        let end = start + lengths[i++]!;
        // Adjacent bytes are recorded as one range.
        while (i < count && addresses[i] === end) end += lengths[i++]!;
        places.push(overlaps.enter(record, start, end - start, attributes));
      }
    }
    for (const view of cached) {
      linePlaces.push(overlaps.enterLines(record, overlaps.numberOf(view), view.length, attributes));
    }
  }

  private enterForeignBytes(record: DebugSgRecord): void {
    const { overlaps } = this.elements;
    for (const view of record.views) {
      record.places.push(overlaps.enter(record, overlaps.numberOf(view), view.byteLength, record.attributes));
    }
  }

  private leave(record: DebugSgRecord): void {
    const { ledger, watch } = this.debug;
    const { overlaps } = this.elements;
    ledger.leave(record);
    const { places, linePlaces } = record;
    // Removed one by one, because an array keeps its memory then. It would not after setting its length to 0.
    while (places.length > 0) overlaps.leave(places.pop()!);
    while (linePlaces.length > 0) overlaps.leaveLines(linePlaces.pop()!);
    watch?.unmapping(record);
    record.views = NO_VIEWS;
  }
}
