/**
 * The records of one owner's mappings: those that are live, and those that are out of use and wait to be used again.
 *
 *      unused() -> enter(record) -> leave(record)   the record's life
 *      unused() -> cancel(record)                   the mapping failed
 */

import { LiveEntry, LiveList } from '../words/live-list.ts';
import { RecordRing } from './record-ring.ts';

/** The states of a record. */
export const UNMAPPED = 0;
export const MAPPED = 1;
/** The device was closed while the record was mapped. */
export const REVOKED = 2;

/** A record that a RecordTable can hold. */
export abstract class LiveRecord extends LiveEntry {
  state = UNMAPPED;

  /** The record is in this state from here on, and refers to no memory of the caller. */
  abstract end(state: number): void;
}

/** The maker of records. */
export interface RecordMaker<R> {
  /** Make a record that is not in use. */
  newRecord(): R;
}

/** The records of one owner. */
export class RecordTable<R extends LiveRecord> {
  private readonly maker: RecordMaker<R>;
  private readonly live = new LiveList<R>();
  private readonly ring = new RecordRing<R>();

  constructor(maker: RecordMaker<R>) {
    this.maker = maker;
  }

  /** The number of live records. */
  get count(): number {
    return this.live.count;
  }

  /** A record to fill in. It is not live before `enter`. */
  unused(): R {
    return this.ring.take() ?? this.maker.newRecord();
  }

  /** The record is MAPPED from here on. */
  enter(record: R): void {
    record.state = MAPPED;
    this.live.add(record);
  }

  /** The record is UNMAPPED from here on. */
  leave(record: R): void {
    this.live.remove(record);
    record.end(UNMAPPED);
    this.ring.give(record);
  }

  /** Return a record from `unused` that was never entered. */
  cancel(record: R): void {
    this.ring.give(record);
  }

  /** The live records, newest first. */
  [Symbol.iterator](): Generator<R> {
    return this.live[Symbol.iterator]();
  }

  /** The device is closing: every live record is REVOKED. */
  revoke(): void {
    for (const record of [...this.live]) {
      this.live.remove(record);
      record.end(REVOKED);
    }
  }
}
