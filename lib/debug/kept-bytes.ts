/**
 * Bytes of the CPU that no device writes, because the device has a copy of them or only reads them. If they change
 * while the device owns them, the CPU has changed them.
 */
import { ByteRanges } from './byte-ranges.ts';
import type { Snapshots } from './snapshots.ts';

const NOTHING = new Uint8Array(0);

/**
 * Loads node:zlib at its first use: most programs never need it, and loading it takes a tenth of the time that this
 * library starts in.
 */
let crc32 = (bytes: Uint8Array): number => {
  crc32 = process.getBuiltinModule('node:zlib').crc32;
  return crc32(bytes);
};

/** The bytes of one mapping. The object is reused for one mapping after another. */
export class KeptBytes {
  /** Offsets that the CPU owns now. Nothing is compared while there are any. */
  readonly cpu = new ByteRanges();
  told = false;
  /** True if a device may write the bytes through another mapping. A change then tells nothing about the CPU. */
  shared = false;
  /** True if the bytes are compared with the device's copy. The device may have written to that copy by mistake. */
  besideDevice = false;

  private source: Uint8Array = NOTHING;
  private size = 0;
  /** The old bytes; empty if only their CRC is kept. */
  private before: Uint8Array = NOTHING;
  private snapshot: Buffer | undefined = undefined;
  private crc = 0;
  /**
   * A view of the memory of the last use. The next use mostly has the same memory, and making a view takes longer.
   */
  private view: Uint8Array = NOTHING;
  private viewed: Uint8Array = NOTHING;
  private viewedAt = 0;

  /** Keeps bytes of which the device has a copy that it only reads: in `memory` from byte `at` on. */
  keepBeside(source: Uint8Array, memory: Uint8Array, at: number): void {
    this.begin(source);
    this.besideDevice = true;
    this.before = this.part(memory, at);
  }

  /** Keeps bytes by copying them to `snapshot`. */
  keepCopy(source: Uint8Array, snapshot: Buffer): void {
    this.begin(source);
    this.before = this.part(snapshot, 0);
    this.snapshot = snapshot;
    snapshot.set(source);
  }

  /** Keeps bytes by their CRC, which is slower but takes no memory. */
  keepCrc(source: Uint8Array): void {
    this.begin(source);
    this.before = NOTHING;
    this.crc = crc32(source);
  }

  /** Keeps the present bytes: the device has just become the owner of all of them. */
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

  /** True if the bytes have not changed since the device owns them, or a change cannot be detected. */
  get unchanged(): boolean {
    if (this.detached || !this.cpu.empty) return true;
    const { source, before } = this;
    return before === NOTHING ? crc32(source) === this.crc : Buffer.compare(source, before) === 0;
  }

  /** The offset of the first byte that changed; undefined if it is not known. */
  get firstChange(): number | undefined {
    const { source, before } = this;
    return before === NOTHING ? undefined : source.findIndex((byte, at) => byte !== before[at]);
  }

  /** True if the buffer was detached, so that there is nothing to compare. */
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
    this.shared = false;
    this.cpu.clear();
  }
}
