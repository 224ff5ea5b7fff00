/** The mapped lists of a device, and the records of lists that wait to be used again, oldest first. */

import type { SegmentLimits } from '../placement/segments.ts';
import { MAPPED, REVOKED, UNMAPPED } from '../streaming/mapping.ts';
import { RecordRing } from '../streaming/record-ring.ts';
import { NO_PARTS, type SgOwner, type SgRecord } from './mapping.ts';

/** The records of one device's lists. */
export class SgTable {
  private readonly owner: SgOwner;
  private readonly limits: SegmentLimits;
  private readonly ring = new RecordRing<SgRecord>();
  private newest: SgRecord | undefined = undefined;
  private live = 0;

  constructor(owner: SgOwner, limits: SegmentLimits) {
    this.owner = owner;
    this.limits = limits;
  }

  /** The number of mapped lists. */
  get count(): number {
    return this.live;
  }

  /** Take a record to fill in. It is not live before `enter`. */
  take(): SgRecord {
    return this.ring.take() ?? this.owner.newRecord(this.limits);
  }

  /** The record is MAPPED from here on. */
  enter(record: SgRecord): void {
    record.state = MAPPED;
    const newest = this.newest;
    record.next = newest;
    if (newest !== undefined) newest.previous = record;
    this.newest = record;
    this.live++;
  }

  /** The record is UNMAPPED from here on, and refers to no memory of the caller. */
  leave(record: SgRecord): void {
    const { previous, next } = record;
    if (previous === undefined) this.newest = next;
    else previous.next = next;
    if (next !== undefined) next.previous = previous;
    this.live--;
    release(record, UNMAPPED);
    this.give(record);
  }

  /** Return a record from `take` that was never entered, or that has left. */
  give(record: SgRecord): void {
    this.ring.give(record);
  }

  /** The mapped lists, newest first. */
  *[Symbol.iterator](): Generator<SgRecord> {
    for (let record = this.newest; record !== undefined; record = record.next) yield record;
  }

  /** The device is closing: every list is REVOKED. */
  revoke(): void {
    let record = this.newest;
    while (record !== undefined) {
      const next: SgRecord | undefined = record.next;
      release(record, REVOKED);
      record = next;
    }
    this.newest = undefined;
    this.live = 0;
  }
}

function release(record: SgRecord, state: number): void {
  record.state = state;
  record.parts = NO_PARTS;
  record.run = undefined;
  record.batchIn?.clear();
  record.batchOut?.clear();
  if (record.cached.length > 0) record.cached.length = 0;
  record.previous = undefined;
  record.next = undefined;
}
