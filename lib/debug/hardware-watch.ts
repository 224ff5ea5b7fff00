/**
 * Watches a real device. No software sees its accesses. The watch finds out if the CPU wrote to memory while the device
 * owned it:
 *
 *      copied, and the device only reads       compared with the device's copy
 *      copied, and the device writes           compared with a copy of our own, which no device touches
 *      in place, and the device only reads     compared with a copy of our own, too
 *      in place, and the device writes         not compared: the writes of the two cannot be told apart
 *      a device writes the same bytes through
 *        another mapping                       not compared, for the same reason
 */
import { DEVICE_READS, DEVICE_WRITES } from '../direction.ts';
import { isCoherentBuffer } from './coherent-buffers.ts';
import type { DmaDebug } from './debug.ts';
import { KeptBytes } from './kept-bytes.ts';
import { DebugRecord, DebugSgRecord } from './records.ts';
import { SharedBytes } from './shared-bytes.ts';
import { captureMistake } from './sites.ts';
import { Snapshots } from './snapshots.ts';
import { type Shared, viewedBytes, type Watch, type WatchedMemory } from './watch.ts';
import { thing } from './wording.ts';

/**
 * The size of the longest mapping that is copied only for the comparison. Copying a longer one would cost too much
 * time.
 */
const LONGEST = 64 * 1024;
/** The most bytes that are copied at one time only for the comparison. Beyond that, only the CRC is kept. */
const MOST_COPIED = 2 ** 26;

/** The mappings for all devices of the process that let the device write, by their bytes. */
const written = new SharedBytes<DebugRecord>();
/** The other ones whose bytes are kept. */
const onlyRead = new SharedBytes<DebugRecord>();

function indexOf(record: DebugRecord): SharedBytes<DebugRecord> {
  return (record.bits & DEVICE_WRITES) === 0 ? onlyRead : written;
}

/** Finds writes of the CPU to memory that a real device owns. */
export class HardwareWatch implements Watch {
  readonly #debug: DmaDebug;
  readonly #memory: WatchedMemory;
  readonly #mostCopied: number;
  readonly #snapshots = new Snapshots();
  /** Objects for reuse. */
  readonly #spare: KeptBytes[] = [];

  constructor(debug: DmaDebug, memory: WatchedMemory, mostCopied = MOST_COPIED) {
    this.#debug = debug;
    this.#memory = memory;
    this.#mostCopied = mostCopied;
  }

  mapped(record: DebugRecord | DebugSgRecord): void {
    if (record instanceof DebugRecord) this.#keep(record);
    else for (const part of record.parts) this.#keep(part as DebugRecord);
  }

  unmapping(record: DebugRecord | DebugSgRecord): void {
    this.#check(record, 'when it was unmapped');
    if (record instanceof DebugRecord) this.#drop(record);
    else for (const part of record.parts) this.#drop(part as DebugRecord);
  }

  syncingForCpu(shared: Shared): void {
    this.#check(shared, 'at syncForCpu');
  }

  syncedForCpu(shared: Shared, offset: number, size: number): void {
    if (shared instanceof DebugRecord) shared.kept?.cpu.add(offset, offset + size);
    else if (shared instanceof DebugSgRecord) {
      for (const part of shared.parts) (part as DebugRecord).kept?.cpu.add(0, part.size);
    }
  }

  syncingForDevice(): void {}

  syncedForDevice(shared: Shared, offset: number, size: number): void {
    if (shared instanceof DebugRecord) lend(shared.kept, offset, offset + size);
    else if (shared instanceof DebugSgRecord) {
      for (const part of shared.parts) lend((part as DebugRecord).kept, 0, part.size);
    }
  }

  held(): void {}

  releasing(): void {}

  close(records: Iterable<DebugRecord>): void {
    for (const record of records) this.#drop(record);
  }

  #keep(record: DebugRecord): void {
    const { view, way, region } = record;
    // The device may use coherent memory at any time, and so may the CPU.
    if (view === undefined || way === 'resource' || (way === 'arithmetic' && region!.coherent)) return;
    if (region === undefined && isCoherentBuffer(view.buffer)) return;
    this.#copy(record, view);
    const index = indexOf(record);
    if (index === onlyRead && record.kept === undefined) return;
    index.enter(record, view, record.size);
    const { firstByte, size } = record;
    for (const other of written.touching(firstByte, size)) {
      if (other === record) continue;
      if (record.kept !== undefined) record.kept.shared = true;
      if (index === written && other.kept !== undefined) other.kept.shared = true;
    }
    if (index === onlyRead) return;
    for (const other of onlyRead.touching(firstByte, size)) other.kept!.shared = true;
  }

  /** Keep the present bytes if a later write of the CPU can be told from a write of the device. */
  #copy(record: DebugRecord, view: ArrayBufferView): void {
    const { way, bits, size, slot } = record;
    if (way === 'arithmetic') return;
    const readOnly = bits === DEVICE_READS;
    if (way === 'pinned' && !readOnly) return;
    const beside = way === 'bounced' && readOnly;
    if (!beside && size > LONGEST) return;
    const kept = this.#spare.pop() ?? new KeptBytes();
    const source = record.source ?? viewedBytes(view);
    if (beside) {
      const { bounce } = this.#memory;
      kept.keepBeside(source, bounce.arena(slot), bounce.arenaOffset(slot) + record.slotOffset);
    } else if (this.#snapshots.used + size <= this.#mostCopied) {
      kept.keepCopy(source, this.#snapshots.take(size));
    } else {
      kept.keepCrc(source);
    }
    record.kept = kept;
  }

  #drop(record: DebugRecord): void {
    indexOf(record).leave(record);
    const { kept } = record;
    if (kept === undefined) return;
    kept.end(this.#snapshots);
    record.kept = undefined;
    this.#spare.push(kept);
  }

  #check(shared: Shared, when: string): void {
    if (shared instanceof DebugRecord) this.#checkOne(shared, shared, when);
    else if (shared instanceof DebugSgRecord) {
      for (const part of shared.parts) this.#checkOne(shared, part as DebugRecord, when);
    }
  }

  #checkOne(entry: DebugRecord | DebugSgRecord, { kept }: DebugRecord, when: string): void {
    if (kept === undefined || kept.told || kept.shared || kept.unchanged) return;
    kept.told = true;
    const { firstChange } = kept;
    const where = firstChange === undefined ? '' : `from offset ${firstChange} on `;
    const { message, remedy } = kept.besideDevice
      ? eitherWrote(entry, where, when)
      : {
          message: `the CPU wrote to ${thing(entry)} ${where}while the device owned it (found ${when})`,
          remedy: 'write before mapping, or between syncForCpu and syncForDevice',
        };
    this.#debug.report({
      kind: 'cpu-wrote-while-device-owned',
      message: `${this.#debug.name}: ${message}; ${remedy}`,
      entry,
      mistakeAt: captureMistake(),
    });
  }
}

/**
 * The bytes of a bounced mapping that the device only reads differ from the device's copy. Either the CPU or the
 * device may have written.
 */
function eitherWrote(
  entry: DebugRecord | DebugSgRecord,
  where: string,
  when: string,
): { readonly message: string; readonly remedy: string } {
  return {
    message: `${thing(entry)} and the device's copy of it differ ${where}(found ${when}): the CPU wrote while the device owned it, or the device wrote to what it may only read`,
    remedy:
      "write before mapping, or between syncForCpu and syncForDevice; if the device writes there, map it 'from-device' or 'bidirectional'",
  };
}

/** The device owns offsets [start, end) from here on. */
function lend(kept: KeptBytes | undefined, start: number, end: number): void {
  if (kept === undefined) return;
  kept.cpu.remove(start, end);
  if (kept.cpu.empty) kept.renew();
}
