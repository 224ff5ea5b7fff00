/**
 * Bytes of the CPU's that no device touches, because it has a copy of them or only reads: if they change while
 * the device owns them, the CPU has changed them.
 */
import { crc32 } from 'node:zlib';
import { ByteRanges } from './byte-ranges.ts';
import type { Snapshots } from './snapshots.ts';

const NOTHING = new Uint8Array(0);

/** Used for one mapping after another. */
export class KeptBytes {
  /** Offsets that are the CPU's now: while there are any, nothing is compared. */
  readonly cpu = new ByteRanges();
  told = false;
  /** Whether the bytes are compared with the device's copy, which the device may have written by mistake. */
  besideDevice = false;

  private source: Uint8Array = NOTHING;
  private size = 0;
  /** What the bytes were; nothing where there is only their CRC. */
  private before: Uint8Array = NOTHING;
  private snapshot: Buffer | undefined = undefined;
  private crc = 0;
  /** A view of what lies where this was used last, which is mostly where it is used next: making one takes longer. */
  private view: Uint8Array = NOTHING;
  private viewed: Uint8Array = NOTHING;
  private viewedAt = 0;

  /** Bytes the device has a copy of, which it only reads: in `memory` from byte `at` on. */
  keepBeside(source: Uint8Array, memory: Uint8Array, at: number): void {
    this.begin(source);
    this.besideDevice = true;
    this.before = this.part(memory, at);
  }

  /** Bytes that are copied to `snapshot`. */
  keepCopy(source: Uint8Array, snapshot: Buffer): void {
    this.begin(source);
    this.before = this.part(snapshot, 0);
    this.snapshot = snapshot;
    snapshot.set(source);
  }

  /** Bytes whose CRC is kept: slower, and takes no memory. */
  keepCrc(source: Uint8Array): void {
    this.begin(source);
    this.before = NOTHING;
    this.crc = crc32(source);
  }

  /** Keep the bytes as they are now: the device has just become the owner of all of them. */
  renew(): void {
    if (this.detached) return;
    if (this.snapshot !== undefined) this.snapshot.set(this.source);
    else if (this.before === NOTHING) this.crc = crc32(this.source);
  }

  end(snapshots: Snapshots): void {
    if (this.snapshot !== undefined) snapshots.give(this.snapshot);
    this.snapshot = undefined;
    this.source = NOTHING;
  }

  /** Whether the bytes are unchanged since the device owns them, or a change cannot be found. */
  get unchanged(): boolean {
    if (this.detached || !this.cpu.empty) return true;
    const { source, before } = this;
    return before === NOTHING ? crc32(source) === this.crc : Buffer.compare(source, before) === 0;
  }

  /** Offset of the first byte that is not as it was; undefined when that is not known. */
  get firstChange(): number | undefined {
    const { source, before } = this;
    return before === NOTHING ? undefined : source.findIndex((byte, at) => byte !== before[at]);
  }

  /** There is nothing left to compare. */
  private get detached(): boolean {
    return this.source.length !== this.size;
  }

  private part(memory: Uint8Array, at: number): Uint8Array {
    const { size } = this;
    if (memory !== this.viewed || at !== this.viewedAt || this.view.length !== size) {
      this.view = memory.subarray(at, at + size);
      this.viewed = memory;
      this.viewedAt = at;
    }
    return this.view;
  }

  private begin(source: Uint8Array): void {
    this.source = source;
    this.size = source.length;
    this.told = false;
    this.besideDevice = false;
    this.cpu.clear();
  }
}
