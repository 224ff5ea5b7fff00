/**
 * Syncs of a bounced list in one call. This is faster for a list of many small elements from few buffers, and only
 * from its second sync on: finding out what to copy takes about as long as copying it once.
 */

import { DEVICE_READS, DEVICE_WRITES } from '../../direction.ts';
import { CopyList } from '../bounce/copy-list.ts';
import type { MappingRecord } from '../streaming/mapping.ts';
import type { Streaming } from '../streaming/streaming.ts';
import type { SgRecord } from './mapping.ts';

/** A list of fewer elements than this is copied as fast one by one. */
const MIN_ELEMENTS = 12;
/** A list of longer elements, on average, is copied as fast one by one too: moving the bytes takes most of the time. */
const MAX_AVERAGE = 1024;

const UNSEEN = 0;
const SEEN = 1;
const READY = 2;
const UNFIT = 3;

/** The copies of one list in one direction. */
export class SgBatch {
  private readonly copies = new CopyList();
  private state = UNSEEN;

  /**
   * Copy all elements to the CPU's side or to the device's. If the list is not for this class, nothing is done, and
   * the result is false.
   */
  run(streaming: Streaming, record: SgRecord, forDevice: boolean): boolean {
    if (this.state !== READY && !this.prepare(streaming, record, forDevice)) return false;
    const { copies } = this;
    if (!copies.run(streaming.copyMany!)) return false;
    if (forDevice) streaming.bounce.countIn(copies.bytes);
    else streaming.bounce.countOut(copies.bytes);
    return true;
  }

  /** Forget the list: the record gets another one, or none. */
  clear(): void {
    this.state = UNSEEN;
    this.copies.clear();
  }

  private prepare(streaming: Streaming, record: SgRecord, forDevice: boolean): boolean {
    if (this.state === SEEN) this.state = this.fill(streaming, record, forDevice) ? READY : UNFIT;
    else if (this.state === UNSEEN) this.state = SEEN;
    if (this.state === UNFIT) this.copies.clear();
    return this.state === READY;
  }

  private fill(streaming: Streaming, { parts }: SgRecord, forDevice: boolean): boolean {
    for (const part of parts) {
      if (part.way !== 'bounced') {
        if (streaming.needSync(part)) return false;
      } else if (!this.add(streaming, part, forDevice)) {
        return false;
      }
    }
    return true;
  }

  private add(
    { bounce }: Streaming,
    { source, slot, slotOffset, size }: MappingRecord,
    forDevice: boolean,
  ): boolean {
    const { buffer, byteOffset } = source!;
    const arena = bounce.arena(slot).buffer;
    const at = bounce.arenaOffset(slot) + slotOffset;
    if (forDevice) return this.copies.add(arena, at, buffer, byteOffset, size);
    return this.copies.add(buffer, byteOffset, arena, at, size);
  }
}

/** Sync a whole list in one call. If it has to be synced one by one, nothing is done, and the result is false. */
export function syncAtOnce(streaming: Streaming, record: SgRecord, forDevice: boolean): boolean {
  const { parts, bits } = record;
  if (streaming.copyMany === undefined || parts.length < MIN_ELEMENTS) return false;
  if (record.size > parts.length * MAX_AVERAGE) return false;
  if ((bits & (forDevice ? DEVICE_READS : DEVICE_WRITES)) === 0) return false;
  return batchOf(record, forDevice).run(streaming, record, forDevice);
}

function batchOf(record: SgRecord, forDevice: boolean): SgBatch {
  const found = forDevice ? record.batchIn : record.batchOut;
  if (found !== undefined) return found;
  const made = new SgBatch();
  if (forDevice) record.batchIn = made;
  else record.batchOut = made;
  return made;
}
