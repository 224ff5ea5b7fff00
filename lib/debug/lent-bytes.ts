/**
 * Bytes that CPU and device own in turn: a mapping, an element of a mapped list, or noncoherent memory. For each byte:
 * its owner, and its value when the owner changed last.
 *
 *      offset    0                                             size
 *      owner     |dddddddddddddddd|cccccccc|dddddddddddddddddd|      `cpu` has the bytes that are the CPU's
 *      unsynced  |......|wwwwwww|.............................|      written by the device, not synced for the CPU
 *      before    |the CPU's bytes at the last change of owner |
 *
 * The CPU may find values other than `before` only where the device wrote, and then the device's values: in place at
 * once, behind a copy or a cache after the next sync. The CPU made every other change.
 */
import type { AddressRange, Indexed } from './address-index.ts';
import { ByteRanges } from './byte-ranges.ts';
import type { Entry } from './entry.ts';
import { type Snapshots, sameBytes } from './snapshots.ts';

/** Bytes that differ: the first of them, the end of the last, how many they are. */
export interface Changed {
  readonly start: number;
  readonly end: number;
  readonly count: number;
}

/** Used for one thing after another. */
export class LentBytes implements AddressRange, Indexed {
  entry!: Entry;
  /** Never a small integer to begin with, so that V8 keeps it unboxed. */
  address = 0.5;
  size = 0;
  /** DEVICE_READS and DEVICE_WRITES. */
  bits = 0;
  place = -1;
  /** Offsets that are the CPU's now; the others are the device's. */
  readonly cpu = new ByteRanges();
  /** Offsets that the device wrote and the driver has not synced for the CPU. */
  readonly unsynced = new ByteRanges();

  /** Kinds of mistakes that were reported of it, or of any element of the list that it is in. */
  told: Set<string>;

  /** What is lent of the same bytes to other devices, who say so with SKIP_CPU_SYNC; undefined as long as nobody does. */
  sharers: Set<LentBytes> | undefined = undefined;

  private readonly snapshots: Snapshots;
  private readonly ownTold = new Set<string>();
  private overwritten = false;
  private changedUnseen = false;
  private taken = false;
  /** The CPU's bytes; undefined when contents are not watched. */
  private source: Uint8Array | undefined = undefined;
  private before: Buffer | undefined = undefined;
  /** What the device wrote last, where it did: anything where it did not. */
  private written: Buffer | undefined = undefined;

  constructor(snapshots: Snapshots) {
    this.snapshots = snapshots;
    this.told = this.ownTold;
  }

  /** @param source the CPU's bytes, undefined when their contents say nothing */
  begin(entry: Entry, address: number, size: number, bits: number, source: Uint8Array | undefined): void {
    this.entry = entry;
    this.address = address;
    this.size = size;
    this.bits = bits;
    this.source = source;
    if (source === undefined) return;
    this.before = this.snapshots.take(size);
    this.before.set(source);
  }

  /** Link it with what is lent of the same bytes; undone when one of them ends. */
  share(other: LentBytes): void {
    if (this.byteDistance(other) === undefined) return;
    this.sharers ??= new Set();
    this.sharers.add(other);
    other.sharers ??= new Set();
    other.sharers.add(this);
  }

  /** As it was when it was made. */
  end(): void {
    for (const other of this.sharers ?? []) other.sharers!.delete(this);
    this.sharers = undefined;
    if (this.before !== undefined) this.snapshots.give(this.before);
    if (this.written !== undefined) this.snapshots.give(this.written);
    this.before = this.written = this.source = undefined;
    this.overwritten = this.changedUnseen = this.taken = false;
    this.cpu.clear();
    this.unsynced.clear();
    if (this.ownTold.size > 0) this.ownTold.clear();
    this.told = this.ownTold;
  }

  /**
   * The device wrote some bytes twice, and the driver has never synced any for the CPU: if it read them, they were
   * stale.
   */
  get missed(): boolean {
    return this.overwritten && !this.taken;
  }

  /**
   * The same of a mapping, where the second write changed the bytes. A driver that has a transfer done again gets the
   * same bytes again, and makes no mistake.
   */
  get missedChange(): boolean {
    return this.changedUnseen && !this.taken;
  }

  /** Offsets [start, end) are the device's from here on, as they are. */
  lend(start: number, end: number): void {
    this.cpu.remove(start, end);
    this.remember(start, end);
  }

  /** They are the CPU's from here on, and it knows what the device wrote. */
  take(start: number, end: number): void {
    this.cpu.add(start, end);
    this.taken ||= !this.unsynced.empty;
    this.remember(start, end);
  }

  /** The device is about to write `bytes` from offset `start` on. */
  write(start: number, bytes: Uint8Array): void {
    const end = start + bytes.length;
    if (this.unsynced.meets(start, end)) this.overwrite(start, end, bytes);
    this.note(start, bytes);
    if (this.sharers === undefined) return;
    for (const other of this.sharers) other.noteFrom(this, start, bytes);
  }

  /**
   * The bytes of [start, end) that the CPU changed while the device owned them; undefined if none, or if that is
   * unknown.
   */
  changed(start: number, end: number): Changed | undefined {
    const { source } = this;
    // Detached meanwhile: there is nothing left to compare.
    if (source === undefined || source.length !== this.size) return undefined;
    if (this.isAsBefore(start, end)) return undefined;
    let first = -1;
    let last = -1;
    let count = 0;
    const look = (from: number, to: number, written: boolean): void => {
      for (let at = from; at < to; at++) {
        if (source[at] === this.before![at] || (written && source[at] === this.written![at])) continue;
        if (first < 0 || at < first) first = at;
        if (at > last) last = at;
        count++;
      }
    };
    // Whole ranges first: where the device wrote in place, all of them are what it wrote.
    this.unsynced.eachIn(start, end, (from, to) => {
      if (!this.isAsWritten(from, to) && !this.isAsBefore(from, to)) look(from, to, true);
    });
    this.unsynced.eachGap(start, end, (from, to) => {
      if (!this.isAsBefore(from, to)) look(from, to, false);
    });
    return first < 0 ? undefined : { start: first, end: last + 1, count };
  }

  private note(start: number, bytes: Uint8Array): void {
    this.unsynced.add(start, start + bytes.length);
    if (this.source === undefined) return;
    this.written ??= this.snapshots.take(this.size);
    this.written.set(bytes, start);
  }

  /** Another device writes `bytes` from offset `start` of its own on: the CPU did not. */
  private noteFrom(other: LentBytes, start: number, bytes: Uint8Array): void {
    const distance = other.byteDistance(this);
    if (distance === undefined) return;
    const from = Math.max(0, start - distance);
    const to = Math.min(this.size, start - distance + bytes.length);
    if (from < to) this.note(from, bytes.subarray(from + distance - start, to + distance - start));
  }

  /** Offset of this one's bytes where `other`'s first byte is; undefined if they have no byte in common. */
  private byteDistance({ source, size }: LentBytes): number | undefined {
    const mine = this.source;
    if (mine === undefined || source === undefined || mine.buffer !== source.buffer) return undefined;
    const distance = source.byteOffset - mine.byteOffset;
    return distance < this.size && -distance < size ? distance : undefined;
  }

  /** The device writes bytes again that the driver has not synced for the CPU. */
  private overwrite(start: number, end: number, bytes: Uint8Array): void {
    this.overwritten = true;
    const { written } = this;
    if (written === undefined || this.changedUnseen) return;
    this.unsynced.eachIn(start, end, (from, to) => {
      if (!sameBytes(written, from, bytes, from - start, to - from)) this.changedUnseen = true;
    });
  }

  private isAsBefore(start: number, end: number): boolean {
    return sameBytes(this.before!, start, this.source!, start, end - start);
  }

  private isAsWritten(start: number, end: number): boolean {
    return sameBytes(this.written!, start, this.source!, start, end - start);
  }

  private remember(start: number, end: number): void {
    this.unsynced.remove(start, end);
    const { source, size } = this;
    if (source === undefined || source.length !== size) return;
    this.before!.set(end - start === size ? source : source.subarray(start, end), start);
  }
}
