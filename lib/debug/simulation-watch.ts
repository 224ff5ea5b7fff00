/**
 * Watches a simulated device, whose every access is known: whether it may do it (access.ts), and whether CPU and device
 * keep to their turns (lent-bytes.ts).
 *
 *      map, syncForDevice    the bytes are the device's    what the device wrote before, somebody must have taken
 *      device reads, writes                                the CPU must not have changed them
 *      syncForCpu, unmap     the bytes are the CPU's       nor until now
 */
import { DMA_ATTR } from '../dma/attributes.ts';
import type { ReportKind } from '../dma/debug-view.ts';
import { DEVICE_WRITES } from '../dma/direction.ts';
import { NoncoherentBuffer } from '../dma/noncoherent.ts';
import { NoncontiguousBuffer } from '../dma/noncontiguous.ts';
import type { DeviceAccess } from '../iommu/device-access.ts';
import { AccessJudge } from './access.ts';
import type { DmaDebug } from './debug.ts';
import { HeldEntry } from './entry.ts';
import { type Changed, LentBytes } from './lent-bytes.ts';
import { isNew } from './once.ts';
import { DebugRecord, type DebugSgRecord } from './records.ts';
import { captureMistake } from './sites.ts';
import type { Shared, Watch } from './watch.ts';
import { bytes, thing } from './wording.ts';

/** In whose time a mistake comes to light: a call of the driver has a stack that says where. */
type Noticed = 'driver' | 'device';

export class SimulationWatch implements Watch {
  readonly #debug: DmaDebug;
  /** Whether to keep copies of what changes hands, and compare. */
  readonly #contents: boolean;
  readonly #judge: AccessJudge;
  /** What is mapped or noncoherent: one piece, or one for each element of a list. */
  readonly #pieces = new Map<Shared, readonly LentBytes[]>();

  constructor(debug: DmaDebug) {
    this.#debug = debug;
    this.#contents = debug.options.contents !== false;
    this.#judge = new AccessJudge(debug);
  }

  /** The device is about to do something. */
  access(access: DeviceAccess): void {
    if (this.#debug.disabled) return;
    this.#judge.judge(access);
    const start = Number(access.address);
    const lent = this.#judge.reachable.touching(start, access.size).filter((one) => one instanceof LentBytes);
    // A mapping of noncoherent memory speaks for it.
    const mapped = lent.some(({ entry }) => entry.way !== undefined);
    for (const one of lent) if (!mapped || one.entry.way !== undefined) this.#use(one, access, start);
  }

  mapped(record: DebugRecord | DebugSgRecord): void {
    const pieces = record instanceof DebugRecord ? this.#single(record) : this.#elements(record);
    // Nobody has told the device's side of an incoherent machine yet: the driver promised to.
    const skips = (record.attributes & DMA_ATTR.SKIP_CPU_SYNC) !== 0;
    if (skips && this.#debug.cache !== undefined) for (const piece of pieces) piece.take(0, piece.size);
    this.#enter(record, pieces);
  }

  unmapping(record: DebugRecord | DebugSgRecord): void {
    const pieces = this.#pieces.get(record) ?? [];
    for (const piece of pieces) {
      this.#checkUntouched(piece, 0, piece.size, 'when it was unmapped');
      this.#checkKept(piece, record.attributes);
    }
    this.#remove(record);
  }

  syncingForCpu(shared: Shared, offset: number, size: number): void {
    this.#each(shared, offset, size, (piece, from, to) => {
      this.#checkUntouched(piece, from, to, 'at syncForCpu');
    });
  }

  syncedForCpu(shared: Shared, offset: number, size: number): void {
    this.#each(shared, offset, size, (piece, from, to) => piece.take(from, to));
  }

  syncingForDevice(shared: Shared, offset: number, size: number): void {
    this.#each(shared, offset, size, (piece, from, to) => {
      this.#checkTaken(piece, from, to, 'given back to it');
      // What is only read by the device may be written and handed over in one step.
      if ((piece.bits & DEVICE_WRITES) !== 0) this.#checkUntouched(piece, from, to, 'at syncForDevice');
    });
  }

  syncedForDevice(shared: Shared, offset: number, size: number): void {
    this.#each(shared, offset, size, (piece, from, to) => piece.lend(from, to));
  }

  held(entry: HeldEntry): void {
    const { handle } = entry;
    if (!isShared(handle)) {
      if (entry.type !== 'pool') this.#judge.reachable.add(entry);
      return;
    }
    const views = handle instanceof NoncoherentBuffer ? [handle.bytes] : handle.pieces;
    let { address } = entry;
    const pieces = views.map((view) => {
      const place = { address, size: view.length };
      address += view.length;
      return new LentBytes(entry, place, entry.bits, this.#contents ? view : undefined);
    });
    for (const piece of pieces) piece.take(0, piece.size);
    this.#enter(handle, pieces);
  }

  releasing(entry: HeldEntry): void {
    const { handle } = entry;
    if (!isShared(handle)) {
      this.#judge.reachable.remove(entry);
      return;
    }
    for (const piece of this.#pieces.get(handle) ?? []) {
      if (piece.missed) this.#checkTaken(piece, 0, piece.size, 'freed');
    }
    this.#remove(handle);
  }

  close(): void {
    this.#judge.reachable.clear();
    this.#pieces.clear();
  }

  #enter(shared: Shared, pieces: readonly LentBytes[]): void {
    this.#pieces.set(shared, pieces);
    for (const piece of pieces) this.#judge.reachable.add(piece);
  }

  #remove(shared: Shared): void {
    for (const piece of this.#pieces.get(shared) ?? []) this.#judge.reachable.remove(piece);
    this.#pieces.delete(shared);
  }

  /** Each part of bytes [offset, offset + size), piece by piece. */
  #each(
    shared: Shared,
    offset: number,
    size: number,
    visit: (piece: LentBytes, from: number, to: number) => void,
  ): void {
    let at = 0;
    for (const piece of this.#pieces.get(shared) ?? []) {
      const from = Math.max(offset - at, 0);
      const to = Math.min(offset + size - at, piece.size);
      if (from < to) visit(piece, from, to);
      at += piece.size;
    }
  }

  #single(record: DebugRecord): LentBytes[] {
    const { view, way, bits } = record;
    if (view === undefined) return [new LentBytes(record, record, bits, undefined)];
    const coherent = this.#isCoherent(view);
    // Nothing changes hands: the buffer or block that it is in stands for it.
    if (coherent && way === 'arithmetic') return [];
    return [new LentBytes(record, record, bits, this.#source(view, coherent))];
  }

  /** The elements of a list lie in its segments one after the other. */
  #elements(record: DebugSgRecord): LentBytes[] {
    const { views, way, bits } = record;
    const { addresses, lengths } = record.segments;
    const told = new Set<ReportKind>();
    const pieces: LentBytes[] = [];
    let segment = 0;
    let used = 0;
    for (const view of views) {
      const place = { address: addresses[segment]! + used, size: view.byteLength };
      used += view.byteLength;
      if (used >= lengths[segment]!) {
        segment++;
        used = 0;
      }
      const coherent = this.#isCoherent(view);
      if (coherent && way === 'arithmetic') continue;
      pieces.push(new LentBytes(record, place, bits, this.#source(view, coherent), told));
    }
    return pieces;
  }

  /** Bytes whose contents say something: where both may write at any time, they do not. */
  #source({ buffer, byteOffset, byteLength }: ArrayBufferView, coherent: boolean): Uint8Array | undefined {
    return this.#contents && !coherent ? new Uint8Array(buffer, byteOffset, byteLength) : undefined;
  }

  /** Memory that CPU and device may use at any time: all of the device's own that was not allocated to be synced. */
  #isCoherent({ buffer, byteOffset, byteLength }: ArrayBufferView): boolean {
    const own = this.#debug.device.own.regionOf(buffer);
    if (own === undefined) return false;
    return !this.#judge.reachable
      .touching(own.address + byteOffset, byteLength)
      .some((one) => one instanceof LentBytes && one.entry instanceof HeldEntry);
  }

  /** The device does something with its bytes, and the CPU must not have. */
  #use(piece: LentBytes, { access, size, bytes: data }: DeviceAccess, start: number): void {
    const from = Math.max(0, start - piece.address);
    const to = Math.min(piece.size, start + size - piece.address);
    const when = access === 'read' ? 'when the device read them' : 'when the device overwrote them';
    this.#checkUntouched(piece, from, to, when, 'device');
    if (data === undefined) return;
    const skipped = piece.address + from - start;
    piece.write(from, data.subarray(skipped, skipped + to - from));
  }

  /** Nothing the device owns in [from, to) was changed by the CPU. */
  #checkUntouched(
    piece: LentBytes,
    from: number,
    to: number,
    when: string,
    noticed: Noticed = 'driver',
  ): void {
    piece.cpu.eachGap(from, to, (start, end) => {
      const changed = piece.changed(start, end);
      if (changed === undefined) return;
      const message = `the CPU wrote ${what(changed)} of ${thing(piece)}, which the device owns (found ${when})`;
      const remedy = 'write before mapping, or between syncForCpu and syncForDevice';
      this.#tell('cpu-wrote-while-device-owned', piece, changed, `${message}; ${remedy}`, noticed);
    });
  }

  /** What the CPU wrote to its own bytes since syncForCpu will not be overwritten by unmap. */
  #checkKept(piece: LentBytes, attributes: number): void {
    if ((piece.bits & DEVICE_WRITES) === 0 || (attributes & DMA_ATTR.SKIP_CPU_SYNC) !== 0) return;
    piece.cpu.eachIn(0, piece.size, (start, end) => {
      const changed = piece.changed(start, end);
      if (changed === undefined) return;
      const message = `the CPU wrote ${what(changed)} of ${thing(piece)} after syncForCpu, and unmap undoes that where memory is copied or cached`;
      const remedy = 'write after unmap, or syncForDevice first';
      this.#tell('not-synced-for-device', piece, changed, `${message}; ${remedy}`, 'driver');
    });
  }

  /** What the device wrote to [from, to), the CPU was given. */
  #checkTaken(piece: LentBytes, from: number, to: number, fate: string): void {
    const lost = piece.unsynced.firstIn(from, to);
    if (lost === undefined) return;
    const changed = { ...lost, count: lost.end - lost.start };
    const message = `${what(changed)} of ${thing(piece)} that the device wrote: ${fate}, and nobody took them`;
    const remedy = 'syncForCpu before reading what the device wrote';
    this.#tell('not-synced-for-cpu', piece, changed, `${message}; ${remedy}`, 'driver');
  }

  #tell(kind: ReportKind, piece: LentBytes, changed: Changed, message: string, noticed: Noticed): void {
    if (!isNew(piece.told, kind)) return;
    this.#debug.report({
      kind,
      message: `${this.#debug.device.name}: ${message}`,
      entry: piece.entry,
      address: piece.address + changed.start,
      size: changed.end - changed.start,
      mistakeAt: noticed === 'driver' ? captureMistake() : undefined,
    });
  }
}

/** `3 bytes from offset 16 on` */
function what({ start, count }: Changed): string {
  return `${bytes(count)} from offset ${start} on`;
}

/** Whether it was allocated for CPU and device to take turns with. */
function isShared(handle: HeldEntry['handle']): handle is NoncoherentBuffer | NoncontiguousBuffer {
  return handle instanceof NoncoherentBuffer || handle instanceof NoncontiguousBuffer;
}
