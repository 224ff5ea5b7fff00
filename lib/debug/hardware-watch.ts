/**
 * Watches real hardware, whose accesses nobody sees. What can be known is whether the CPU wrote to memory while the device
 * had it:
 *
 *      copied, and the device only reads       the copy is what the CPU's bytes were
 *      copied, and the device writes           CRC of the CPU's bytes, which no device touches
 *      in place, and the device only reads     the same
 *      in place, and the device writes         there is no telling them apart
 */
import { crc32 } from 'node:zlib';
import { DEVICE_READS } from '../dma/direction.ts';
import { ByteRanges } from './byte-ranges.ts';
import type { DmaDebug } from './debug.ts';
import { DebugRecord, type DebugSgRecord } from './records.ts';
import { captureMistake } from './sites.ts';
import type { Shared, Watch } from './watch.ts';
import { thing } from './wording.ts';

/** Bytes of the longest mapping whose CRC is taken: longer ones would be felt. */
const LONGEST = 64 * 1024;

/** Bytes of the caller's that only the CPU writes. */
interface Kept {
  readonly source: Uint8Array;
  /** Offsets that are the CPU's now: while there are any, nothing is compared. */
  readonly cpu: ByteRanges;
  /** The copy the device has, where it only reads it. */
  readonly copy: Uint8Array | undefined;
  /** CRC of the source when the last of it became the device's; 0 where there is a copy. */
  crc: number;
  told: boolean;
}

export class HardwareWatch implements Watch {
  readonly #debug: DmaDebug;
  readonly #kept = new Map<Shared, readonly Kept[]>();

  constructor(debug: DmaDebug) {
    this.#debug = debug;
  }

  mapped(record: DebugRecord | DebugSgRecord): void {
    const records = record instanceof DebugRecord ? [record] : (record.parts as readonly DebugRecord[]);
    const kept = records.flatMap((one) => this.#keep(one) ?? []);
    if (kept.length > 0) this.#kept.set(record, kept);
  }

  unmapping(record: DebugRecord | DebugSgRecord): void {
    this.#check(record, 'when it was unmapped');
    this.#kept.delete(record);
  }

  syncingForCpu(shared: Shared): void {
    this.#check(shared, 'at syncForCpu');
  }

  syncedForCpu(shared: Shared, offset: number, size: number): void {
    for (const one of this.#kept.get(shared) ?? []) one.cpu.add(...partOf(shared, one, offset, size));
  }

  syncingForDevice(): void {}

  syncedForDevice(shared: Shared, offset: number, size: number): void {
    for (const one of this.#kept.get(shared) ?? []) {
      one.cpu.remove(...partOf(shared, one, offset, size));
      if (one.cpu.empty && one.copy === undefined) one.crc = crc32(one.source);
    }
  }

  held(): void {}

  releasing(): void {}

  close(): void {
    this.#kept.clear();
  }

  #keep(record: DebugRecord): Kept | undefined {
    const { view, way, bits, size, slot, slotOffset } = record;
    if (view === undefined || way === 'resource' || way === 'arithmetic') return undefined;
    if (way === 'pinned' && bits !== DEVICE_READS) return undefined;
    const source = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    if (way === 'bounced' && bits === DEVICE_READS) {
      const { bounce } = this.#debug;
      const at = bounce.arenaOffset(slot) + slotOffset;
      const copy = bounce.arena(slot).subarray(at, at + size);
      return { source, cpu: new ByteRanges(), copy, crc: 0, told: false };
    }
    if (size > LONGEST) return undefined;
    return { source, cpu: new ByteRanges(), copy: undefined, crc: crc32(source), told: false };
  }

  #check(shared: Shared, when: string): void {
    for (const one of this.#kept.get(shared) ?? []) {
      if (one.told || isUnchanged(one)) continue;
      one.told = true;
      const entry = shared as DebugRecord | DebugSgRecord;
      const where = one.copy === undefined ? '' : `from offset ${firstDifference(one.source, one.copy)} on `;
      const message = `the CPU wrote to ${thing(entry)} ${where}while the device owned it (found ${when})`;
      const remedy = 'write before mapping, or between syncForCpu and syncForDevice';
      this.#debug.report({
        kind: 'cpu-wrote-while-device-owned',
        message: `${this.#debug.device.name}: ${message}; ${remedy}`,
        entry,
        mistakeAt: captureMistake(),
      });
    }
  }
}

/** Bytes of it that a sync is about: of a list, all of each element. */
function partOf(
  shared: Shared,
  { source }: Kept,
  offset: number,
  size: number,
): [start: number, end: number] {
  return shared instanceof DebugRecord ? [offset, offset + size] : [0, source.length];
}

function isUnchanged({ source, cpu, copy, crc }: Kept): boolean {
  // Detached: there is nothing left to compare.
  if (source.length === 0 || !cpu.empty) return true;
  return copy === undefined ? crc === crc32(source) : Buffer.compare(source, copy) === 0;
}

function firstDifference(source: Uint8Array, copy: Uint8Array): number {
  return source.findIndex((byte, at) => byte !== copy[at]);
}
