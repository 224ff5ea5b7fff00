/** Streaming mappings that are entered in the ledger. */
import { DEVICE_WRITES } from '../direction.ts';
import type { MappingRecord } from '../dma/streaming/mapping.ts';
import { Streaming, type StreamingDevice, type StreamingOptions } from '../dma/streaming/streaming.ts';
import type { Misuse } from '../dma/words/misuse.ts';
import type { DmaError } from '../errors.ts';
import type { DmaDebug } from './debug.ts';
import { DebugRecord } from './records.ts';

export class DebugStreaming extends Streaming {
  /** The elements of a list are being mapped, one by one: the list has their site, and whoever watches watches it. */
  listing = false;
  private readonly debug: DmaDebug;
  /** Of the view that is being mapped, if it was asked for. */
  private buffer: ArrayBufferLike | undefined = undefined;

  constructor(debug: DmaDebug, device: StreamingDevice, limit: number, options: StreamingOptions) {
    super(device, limit, options);
    this.debug = debug;
    debug.attach(device, this, options.cache);
    debug.ledger.addTable(this.table as Iterable<DebugRecord>);
  }

  override map(view: ArrayBufferView, bits: number, attributes: number): MappingRecord {
    const record = super.map(view, bits, attributes) as DebugRecord;
    const { debug, buffer } = this;
    this.buffer = undefined;
    if (debug.disabled) return record;
    record.view = view;
    if (this.listing) {
      record.type = 'scatter-gather';
      record.birth = undefined;
      this.enterBytes(record, view, buffer);
      return record;
    }
    record.type = 'single';
    debug.ledger.enter(record);
    this.enterBytes(record, view, buffer);
    debug.watch?.mapped(record);
    return record;
  }

  override unmap(record: MappingRecord): void {
    this.leave(record as DebugRecord);
    super.unmap(record);
  }

  override syncForCpu(record: MappingRecord, offset: number, size: number): void {
    const { watch } = this.debug;
    if (watch === undefined || (record as DebugRecord).type !== 'single') {
      super.syncForCpu(record, offset, size);
      return;
    }
    watch.syncingForCpu(record as DebugRecord, offset, size);
    super.syncForCpu(record, offset, size);
    watch.syncedForCpu(record as DebugRecord, offset, size);
  }

  override syncForDevice(record: MappingRecord, offset: number, size: number): void {
    const { watch } = this.debug;
    if (watch === undefined || (record as DebugRecord).type !== 'single') {
      super.syncForDevice(record, offset, size);
      return;
    }
    watch.syncingForDevice(record as DebugRecord, offset, size);
    super.syncForDevice(record, offset, size);
    watch.syncedForDevice(record as DebugRecord, offset, size);
  }

  /** Other devices go on: what this one was lent is in nobody's way any more. */
  override close(): void {
    const { overlaps } = this.debug;
    for (const record of this.table as Iterable<DebugRecord>) {
      if (record.place >= 0) overlaps.leave(record.place);
      record.place = -1;
    }
    super.close();
  }

  override newRecord(): MappingRecord {
    return new DebugRecord(this);
  }

  override refuse(misuse: Misuse, record: MappingRecord, error: DmaError): DmaError {
    return this.debug.refused(misuse, record as DebugRecord, error);
  }

  protected override bufferOf(view: ArrayBufferView): ArrayBufferLike {
    const { buffer } = view;
    this.buffer = buffer;
    return buffer;
  }

  private enterBytes(record: DebugRecord, view: ArrayBufferView, buffer: ArrayBufferLike | undefined): void {
    const { overlaps } = this.debug;
    const { way, size, attributes, region } = record;
    if (way === 'arithmetic') {
      record.place = overlaps.enter(record, record.address, size, attributes);
      if (!region!.coherent) record.linePlace = overlaps.enterLines(record, record.address, size, attributes);
    } else if ((record.bits & DEVICE_WRITES) !== 0) {
      record.place = overlaps.enter(record, overlaps.numberOf(view, buffer), size, attributes);
    }
  }

  private leave(record: DebugRecord): void {
    const { ledger, overlaps, watch } = this.debug;
    if (record.entered) ledger.leave(record);
    if (record.place >= 0) overlaps.leave(record.place);
    if (record.linePlace >= 0) overlaps.leaveLines(record.linePlace);
    record.place = -1;
    record.linePlace = -1;
    if (watch !== undefined && record.type === 'single' && record.view !== undefined) watch.unmapping(record);
    record.view = undefined;
  }
}
