/** Streaming mappings that are recorded in the ledger. */
import { DEVICE_WRITES } from '../direction.ts';
import type { MappingRecord } from '../dma/streaming/mapping.ts';
import { Streaming, type StreamingDevice, type StreamingOptions } from '../dma/streaming/streaming.ts';
import type { Misuse } from '../dma/words/misuse.ts';
import type { DmaError } from '../errors.ts';
import type { DmaDebug } from './debug.ts';
import { Overlaps } from './overlaps.ts';
import { DebugRecord } from './records.ts';

/** The streaming mappings of a device. Each is recorded in the ledger of dma-debug. */
export class DebugStreaming extends Streaming {
  /** The live mappings that may conflict, those of lists included. */
  readonly overlaps: Overlaps;
  private readonly debug: DmaDebug;

  constructor(debug: DmaDebug, device: StreamingDevice, limit: number, options: StreamingOptions) {
    super(device, limit, options);
    this.debug = debug;
    this.overlaps = new Overlaps(device.own, options.cache?.lineSize ?? 1, (conflict, entry, other) =>
      debug.conflict(conflict, entry, other),
    );
    debug.ledger.addTable(this.records);
  }

  /** The records of the live mappings, those of lists included. */
  get records(): Iterable<DebugRecord> {
    return this.table as Iterable<DebugRecord>;
  }

  override map(view: ArrayBufferView, bits: number, attributes: number): MappingRecord {
    return this.mapAs('single', view, bits, attributes);
  }

  /** An element gets no site and no watch of its own: the list has them. */
  override mapElement(view: ArrayBufferView, bits: number, attributes: number): MappingRecord {
    return this.mapAs('scatter-gather', view, bits, attributes);
  }

  override mapChain(
    views: readonly ArrayBufferView[],
    start: number,
    bits: number,
    attributes: number,
  ): readonly MappingRecord[] {
    const records = super.mapChain(views, start, bits, attributes) as readonly DebugRecord[];
    if (this.debug.disabled) return records;
    records.forEach((record, i) => {
      record.view = views[i]!;
      record.type = 'scatter-gather';
      record.birth = undefined;
      this.enterBytes(record, views[i]!, views[i]!.buffer);
    });
    return records;
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

  /** After this device closes, its mappings no longer conflict with those of other devices. */
  override close(): void {
    const { overlaps } = this;
    for (const record of this.records) {
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

  private mapAs(
    type: 'single' | 'scatter-gather',
    view: ArrayBufferView,
    bits: number,
    attributes: number,
  ): DebugRecord {
    const stamp = this.stampOf(view);
    const buffer = stamp === undefined ? view.buffer : stamp.region.buffer;
    const record = (
      stamp === undefined
        ? this.mapUnstamped(view, buffer, bits, attributes)
        : this.mapStamped(stamp, bits, attributes)
    ) as DebugRecord;
    const { debug } = this;
    if (debug.disabled) return record;
    record.view = view;
    record.type = type;
    if (type === 'single') debug.ledger.enter(record);
    else record.birth = undefined;
    this.enterBytes(record, view, buffer);
    if (type === 'single') debug.watch?.mapped(record);
    return record;
  }

  private enterBytes(record: DebugRecord, view: ArrayBufferView, buffer: ArrayBufferLike): void {
    const { overlaps } = this;
    const { way, size, attributes, region } = record;
    if (way === 'arithmetic') {
      record.place = overlaps.enter(record, record.address, size, attributes);
      if (!region!.coherent) record.linePlace = overlaps.enterLines(record, record.address, size, attributes);
    } else if ((record.bits & DEVICE_WRITES) !== 0) {
      record.place = overlaps.enter(record, overlaps.numberOf(view, buffer), size, attributes);
    }
  }

  private leave(record: DebugRecord): void {
    const { overlaps } = this;
    const { ledger, watch } = this.debug;
    if (record.entered) ledger.leave(record);
    if (record.place >= 0) overlaps.leave(record.place);
    if (record.linePlace >= 0) overlaps.leaveLines(record.linePlace);
    record.place = -1;
    record.linePlace = -1;
    if (watch !== undefined && record.type === 'single' && record.view !== undefined) watch.unmapping(record);
    record.view = undefined;
  }
}
