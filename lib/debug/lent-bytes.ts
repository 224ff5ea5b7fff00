/**
 * Bytes that CPU and device take turns with: a mapping, an element of a mapped list, or noncoherent memory. Whose each
 * of them is, and what was in them when they changed hands last.
 *
 *      offset    0                                             size
 *      owner     |dddddddddddddddd|cccccccc|dddddddddddddddddd|      `cpu` has the bytes that are the CPU's
 *      unsynced  |......|wwwwwww|.............................|      written by the device, and the CPU does not know
 *      before    |what the CPU had when they changed hands ...|
 *
 * What the CPU finds may differ from `before` only where the device wrote, and then it is what the device wrote: in
 * place at once, behind a copy or a cache after the next sync. Everything else the CPU did.
 */
import type { ReportKind } from '../dma/debug-view.ts';
import type { AddressRange } from './address-index.ts';
import { ByteRanges } from './byte-ranges.ts';
import type { Entry } from './entry.ts';

/** Bytes that differ: the first of them, the end of the last, how many they are. */
export interface Changed {
  readonly start: number;
  readonly end: number;
  readonly count: number;
}

export class LentBytes implements AddressRange {
  readonly entry: Entry;
  readonly address: number;
  readonly size: number;
  /** DEVICE_READS and DEVICE_WRITES. */
  readonly bits: number;
  /** Offsets that are the CPU's now; the others are the device's. */
  readonly cpu = new ByteRanges();
  /** Offsets that the device wrote and nobody has synced for the CPU. */
  readonly unsynced = new ByteRanges();

  /** Kinds of mistakes that were reported of it. */
  readonly told: Set<ReportKind>;

  private overwritten = false;
  private taken = false;
  /** The CPU's bytes; undefined when nobody looks at contents. */
  private readonly source: Buffer | undefined;
  private readonly before: Buffer | undefined;
  /** What the device wrote last, where it did. */
  private written: Buffer | undefined = undefined;

  /**
   * @param source the CPU's bytes, undefined when their contents say nothing
   * @param told what was reported of it, shared by the elements of a list
   */
  constructor(
    entry: Entry,
    { address, size }: AddressRange,
    bits: number,
    source: Uint8Array | undefined,
    told = new Set<ReportKind>(),
  ) {
    this.entry = entry;
    this.told = told;
    this.address = address;
    this.size = size;
    this.bits = bits;
    if (source !== undefined) this.source = Buffer.from(source.buffer, source.byteOffset, size);
    if (source !== undefined) this.before = Buffer.from(source);
  }

  /** The device wrote some of it twice, and the CPU never took any: whoever read it, read what he must not. */
  get missed(): boolean {
    return this.overwritten && !this.taken;
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
    this.overwritten ||= this.unsynced.firstIn(start, end) !== undefined;
    this.unsynced.add(start, end);
    if (this.source === undefined) return;
    this.written ??= Buffer.alloc(this.size);
    this.written.set(bytes, start);
  }

  /** What the CPU changed in [start, end) since it changed hands; undefined when that is nothing, or nobody can tell. */
  changed(start: number, end: number): Changed | undefined {
    const { source, before } = this;
    // Detached meanwhile: there is nothing left to compare.
    if (source === undefined || source.length !== this.size) return undefined;
    if (source.compare(before!, start, end, start, end) === 0) return undefined;
    let first = -1;
    let last = -1;
    let count = 0;
    for (let at = start; at < end; at++) {
      if (source[at] === before![at] || this.wrote(at, source[at]!)) continue;
      if (first < 0) first = at;
      last = at;
      count++;
    }
    return first < 0 ? undefined : { start: first, end: last + 1, count };
  }

  /** Whether the device wrote this value there. */
  private wrote(at: number, value: number): boolean {
    return this.written?.[at] === value && this.unsynced.firstIn(at, at + 1) !== undefined;
  }

  private remember(start: number, end: number): void {
    this.unsynced.remove(start, end);
    const { source, before } = this;
    if (source !== undefined && source.length === this.size) source.copy(before!, start, start, end);
  }
}
