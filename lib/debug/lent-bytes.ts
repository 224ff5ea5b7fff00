/**
 * Bytes that CPU and device own in turn: a mapping, an element of a mapped list, or noncoherent memory. For each byte
 * it keeps the owner, and the value at the last change of owner.
 *
 *      offset    0                                             size
 *      owner     |dddddddddddddddd|cccccccc|dddddddddddddddddd|      `cpu` holds the bytes that the CPU owns
 *      unsynced  |......|wwwwwww|.............................|      written by the device, not synced for the CPU
 *      before    |the CPU's bytes at the last change of owner |
 *
 * The CPU may find other values than `before` only where the device wrote, and then they are the device's values. It
 * sees them at once if the memory is mapped in place, and after the next sync if there is a copy or a cache. The CPU
 * made every other change.
 */
import { DEVICE_WRITES } from '../direction.ts';
import type { AddressRange, Indexed } from './address-index.ts';
import { ByteRanges } from './byte-ranges.ts';
import type { Entry } from './entry.ts';
import type { Sharer } from './shared-bytes.ts';
import { type Snapshots, sameBytes } from './snapshots.ts';

/** Bytes that differ: the offset of the first, the end of the last, and their number. */
export interface Changed {
  readonly start: number;
  readonly end: number;
  readonly count: number;
}

/** The bytes of one mapping or buffer. The object is reused. */
export class LentBytes implements AddressRange, Indexed, Sharer {
  entry!: Entry;
  /** The initial value is no small integer, so that V8 keeps the field unboxed. */
  address = 0.5;
  size = 0;
  /** DEVICE_READS and DEVICE_WRITES. */
  bits = 0;
  place = -1;
  firstByte = -1;
  sharePlace = -1;
  /** True if the driver leaves the syncs to another mapping of the same bytes (SKIP_CPU_SYNC). */
  skips = false;
  /** Offsets [inPlaceFrom, inPlaceTo): the device has the memory itself, and no copy of it. */
  inPlaceFrom = 0;
  inPlaceTo = 0;
  /** True if the CPU sees the device's writes in place at once, and not only after a sync. */
  atOnce = true;
  /** Offsets that the CPU owns now. The device owns the others. */
  readonly cpu = new ByteRanges();
  /** Offsets that the device wrote and the driver has not synced for the CPU. */
  readonly unsynced = new ByteRanges();

  /** The kinds of mistakes that were reported for it, or for any element of its list. */
  told: Set<string>;

  /** Offsets that another device wrote, or this one through another mapping, since the owner changed last. */
  private readonly othersWrote = new ByteRanges();
  /** Other live mappings of the same bytes, if one of the two was made with SKIP_CPU_SYNC; undefined while there are none. */
  private sharers: Set<LentBytes> | undefined = undefined;

  private readonly snapshots: Snapshots;
  private readonly ownTold = new Set<string>();
  private overwritten = false;
  private changedUnseen = false;
  private taken = false;
  /** The CPU's bytes; undefined if contents are not watched. */
  private source: Uint8Array | undefined = undefined;
  private before: Buffer | undefined = undefined;
  /** The bytes that the device wrote last. Where it did not write, the values are arbitrary. */
  private written: Buffer | undefined = undefined;

  constructor(snapshots: Snapshots) {
    this.snapshots = snapshots;
    this.told = this.ownTold;
  }

  /** @param source the CPU's bytes; undefined if their contents are not to be compared */
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

  /**
   * Connects this new mapping with another one of the same bytes. One of the two leaves the syncs to the other. Bytes
   * that are in place in both and were synced for the device belong to the device in both.
   */
  share(other: LentBytes): void {
    this.sharers ??= new Set();
    this.sharers.add(other);
    other.sharers ??= new Set();
    other.sharers.add(this);
    const [from, to] = this.skips ? [other, this] : [this, other];
    from.eachInPlace(to, 0, from.size, (start, end, distance) => {
      from.cpu.eachGap(start, end, (low, high) => to.lendOwn(low - distance, high - distance));
    });
    // Writes behind a cache, which the CPU has not seen yet.
    const { written } = other;
    if (written === undefined || other.atOnce) return;
    other.eachInPlace(this, 0, other.size, (start, end) => {
      other.writtenBytes().eachIn(start, end, (low, high) => {
        this.noteFrom(other, low, written.subarray(low, high));
      });
    });
  }

  /** Resets the object to its initial state. */
  end(): void {
    if (this.sharers !== undefined) {
      for (const other of this.sharers) other.sharers!.delete(this);
      this.sharers = undefined;
    }
    if (this.before !== undefined) this.snapshots.give(this.before);
    if (this.written !== undefined) this.snapshots.give(this.written);
    this.before = this.written = this.source = undefined;
    this.overwritten = this.changedUnseen = this.taken = false;
    this.skips = false;
    this.inPlaceFrom = this.inPlaceTo = 0;
    this.cpu.clear();
    this.unsynced.clear();
    this.othersWrote.clear();
    if (this.ownTold.size > 0) this.ownTold.clear();
    this.told = this.ownTold;
  }

  /**
   * True if the device wrote some bytes twice, and the driver never synced any byte for the CPU. If the driver read
   * them, they were stale.
   */
  get missed(): boolean {
    return this.overwritten && !this.taken;
  }

  /**
   * As `missed`, for a mapping, if the second write changed the bytes. When a driver repeats a transfer, it gets the
   * same bytes again, which is no mistake.
   */
  get missedChange(): boolean {
    return this.changedUnseen && !this.taken;
  }

  /** The device owns offsets [start, end) from here on, in place also in the mappings that share them. */
  lend(start: number, end: number): void {
    this.lendOwn(start, end);
    if (this.sharers !== undefined) {
      this.eachSharer(start, end, (other, from, to) => other.lendOwn(from, to));
    }
  }

  /**
   * The CPU owns offsets [start, end) from here on, and sees the bytes that the device wrote. Bytes in place change
   * their owner in the mappings that share them, too.
   */
  take(start: number, end: number): void {
    this.tellSharers(start, end);
    this.takeOwn(start, end);
    if (this.sharers !== undefined) {
      this.eachSharer(start, end, (other, from, to) => other.takeOwn(from, to));
    }
  }

  /** The device is about to write `bytes` from offset `start` on. */
  write(start: number, bytes: Uint8Array): void {
    const end = start + bytes.length;
    if (this.unsynced.meets(start, end)) this.overwrite(start, end, bytes);
    this.note(this.unsynced, start, bytes);
    if (this.sharers === undefined) return;
    for (const other of this.sharers) {
      const [low, high] = this.knownAtOnce(other);
      const from = Math.max(start, low);
      const to = Math.min(end, high);
      if (from < to) other.noteFrom(this, from, bytes.subarray(from - start, to - start));
    }
  }

  /**
   * The bytes that the device wrote to [start, end) of its copy, or behind a cache, reach the CPU now. So do those that
   * other devices wrote to the same memory. The mappings that share them must not take them for writes of the CPU.
   */
  tellSharers(start: number, end: number): void {
    const { written, sharers } = this;
    if (sharers === undefined || written === undefined || (this.bits & DEVICE_WRITES) === 0) return;
    const tell = (from: number, to: number): void => {
      for (const other of sharers) other.noteFrom(this, from, written.subarray(from, to), true);
    };
    this.unsynced.eachIn(start, end, tell);
    const from = Math.max(start, this.inPlaceFrom);
    const to = Math.min(end, this.inPlaceTo);
    if (from < to) this.othersWrote.eachIn(from, to, tell);
  }

  /**
   * The bytes of [start, end) that the CPU changed while the device owned them; undefined if none, or if that is
   * unknown.
   */
  changed(start: number, end: number): Changed | undefined {
    const { source } = this;
    // The buffer was detached meanwhile, so there is nothing to compare.
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
    // Whole ranges are compared first: if the device wrote in place, they equal the bytes that it wrote.
    const written = this.writtenBytes();
    written.eachIn(start, end, (from, to) => {
      if (!this.isAsWritten(from, to) && !this.isAsBefore(from, to)) look(from, to, true);
    });
    written.eachGap(start, end, (from, to) => {
      if (!this.isAsBefore(from, to)) look(from, to, false);
    });
    return first < 0 ? undefined : { start: first, end: last + 1, count };
  }

  /**
   * The offsets [from, to) whose writes a sharer is told of at once: those that the CPU sees at once, or, if there is a
   * cache, those that both have in place, so that the last write counts in both.
   */
  private knownAtOnce(other: LentBytes): readonly [number, number] {
    let { inPlaceFrom: from, inPlaceTo: to } = this;
    if (!this.atOnce) {
      const distance = other.firstByte - this.firstByte;
      from = Math.max(from, other.inPlaceFrom + distance);
      to = Math.min(to, other.inPlaceTo + distance);
    }
    return from < to ? [from, to] : [this.size, this.size];
  }

  /** Offsets that any device wrote. */
  private writtenBytes(): ByteRanges {
    if (this.othersWrote.empty) return this.unsynced;
    const all = new ByteRanges();
    for (const ranges of [this.unsynced, this.othersWrote]) {
      ranges.eachIn(0, this.size, (from, to) => all.add(from, to));
    }
    return all;
  }

  private note(ranges: ByteRanges, start: number, bytes: Uint8Array): void {
    ranges.add(start, start + bytes.length);
    if (this.source === undefined) return;
    this.written ??= this.snapshots.take(this.size);
    this.written.set(bytes, start);
  }

  /**
   * Another device wrote `bytes` from offset `start` of `other` on. So the CPU did not write them.
   * @param reached the CPU has them now, and no longer its old bytes
   */
  private noteFrom(other: LentBytes, start: number, bytes: Uint8Array, reached = false): void {
    const distance = this.firstByte - other.firstByte;
    const from = Math.max(0, start - distance);
    const to = Math.min(this.size, start - distance + bytes.length);
    if (from >= to) return;
    const part = bytes.subarray(from + distance - start, to + distance - start);
    this.note(this.othersWrote, from, part);
    if (reached) this.before?.set(part, from);
  }

  private lendOwn(start: number, end: number): void {
    this.cpu.remove(start, end);
    this.remember(start, end);
  }

  private takeOwn(start: number, end: number): void {
    this.cpu.add(start, end);
    this.taken ||= !this.unsynced.empty;
    this.remember(start, end);
  }

  /** Calls `visit` for each sharer with its offsets of the bytes [start, end) that are in place in both. */
  private eachSharer(
    start: number,
    end: number,
    visit: (other: LentBytes, from: number, to: number) => void,
  ): void {
    for (const other of this.sharers!) {
      this.eachInPlace(other, start, end, (from, to, distance) =>
        visit(other, from - distance, to - distance),
      );
    }
  }

  /** The part of [start, end) that is in place here and in `other`, which starts `distance` bytes after this. */
  private eachInPlace(
    other: LentBytes,
    start: number,
    end: number,
    visit: (from: number, to: number, distance: number) => void,
  ): void {
    const distance = other.firstByte - this.firstByte;
    const from = Math.max(start, this.inPlaceFrom, other.inPlaceFrom + distance);
    const to = Math.min(end, this.inPlaceTo, other.inPlaceTo + distance);
    if (from < to) visit(from, to, distance);
  }

  /** The device overwrites bytes that the driver has not synced for the CPU. */
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
    this.othersWrote.remove(start, end);
    const { source, size } = this;
    if (source === undefined || source.length !== size) return;
    this.before!.set(end - start === size ? source : source.subarray(start, end), start);
  }
}
