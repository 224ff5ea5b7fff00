/**
 * Watches a simulated device. It knows every access, so it can check two things: may the device do the access
 * (access.ts), and do CPU and device keep to their turns (turns.ts)?
 *
 *      map, syncForDevice    the device owns the bytes     the driver must have synced the bytes that the device wrote
 *      device reads, writes                                the CPU must not have changed them
 *      syncForCpu, unmap     the CPU owns the bytes        the CPU must not have changed them until now
 */

import { DEVICE_WRITES } from '../direction.ts';
import { NoncoherentBuffer } from '../dma/buffers/noncoherent.ts';
import { NoncontiguousBuffer } from '../dma/buffers/noncontiguous.ts';
import type { OwnRegion } from '../dma/operations/own-memory.ts';
import type { MappingWay } from '../dma/streaming/mapping.ts';
import { DMA_ATTR } from '../dma/words/attributes.ts';
import type { DeviceAccess } from '../iommu/device-access.ts';
import { observeReads } from '../looks.ts';
import { AccessJudge } from './access.ts';
import { isCoherentBuffer } from './coherent-buffers.ts';
import type { DmaDebug } from './debug.ts';
import type { Entry, HeldEntry } from './entry.ts';
import { LentBytes } from './lent-bytes.ts';
import { DebugRecord, DebugSgRecord } from './records.ts';
import { SharedBytes } from './shared-bytes.ts';
import { Snapshots } from './snapshots.ts';
import { Turns } from './turns.ts';
import { type Shared, viewedBytes, type Watch, type WatchedMemory } from './watch.ts';

/** The mappings and buffers of all devices of the process, by their bytes. */
const syncing = new SharedBytes<LentBytes>();
/** Those that leave the syncs to another mapping of the same bytes. */
const skipping = new SharedBytes<LentBytes>();

function indexOf(piece: LentBytes): SharedBytes<LentBytes> {
  return piece.skips ? skipping : syncing;
}

/** Watches a simulated device: each of its accesses, and the contents of the memory that it shares with the CPU. */
export class SimulationWatch implements Watch {
  readonly #debug: DmaDebug;
  readonly #memory: WatchedMemory;
  /** True if it keeps copies of bytes that change owner, and compares them. */
  readonly #contents: boolean;
  readonly #judge: AccessJudge;
  readonly #turns: Turns;
  readonly #snapshots = new Snapshots();
  /** Noncoherent memory: one piece, or several if it is not contiguous. */
  readonly #buffers = new Map<Shared, readonly LentBytes[]>();
  /** Objects for reuse. */
  readonly #spare: LentBytes[] = [];

  constructor(
    debug: DmaDebug,
    memory: WatchedMemory,
    neighbours: () => Iterable<SimulationWatch | undefined> = () => [],
  ) {
    this.#debug = debug;
    this.#memory = memory;
    this.#contents = debug.options.contents !== false;
    this.#judge = new AccessJudge(debug, memory, neighbours);
    this.#turns = new Turns(debug);
  }

  /** True if the driver gave all of [from, to) on the bus to the device, and the device may do this access there. */
  allows(access: DeviceAccess, from: number, to: number): boolean {
    return !this.#debug.disabled && this.#judge.allows(access, from, to);
  }

  /** The device is about to do this access. */
  access(access: DeviceAccess): void {
    if (this.#debug.disabled) return;
    const start = Number(access.address);
    const touched = this.#judge.reachable.touching(start, access.size);
    this.#judge.judge(access, touched);
    // If noncoherent memory is mapped, too, only its mapping is checked.
    const mapped = touched.some((one) => one instanceof LentBytes && one.entry.way !== undefined);
    const used: LentBytes[] = [];
    for (const one of touched) {
      if (one instanceof LentBytes && (!mapped || one.entry.way !== undefined)) used.push(one);
    }
    // All are checked first: a write to one of them is noted in the others that share its bytes.
    for (const one of used) this.#checkUse(one, access, start);
    if (access.bytes === undefined) return;
    for (const one of used) this.#noteWrite(one, access, start);
  }

  /** The entry at this address. If a mapping lies in an allocation, it is the mapping. */
  protected entryAt(address: number, size: number): Entry | undefined {
    const entries = this.#judge.reachable
      .touching(address, size)
      .map((one) => (one instanceof LentBytes ? one.entry : one));
    return entries.find(({ way }) => way !== undefined) ?? entries[0];
  }

  mapped(record: DebugRecord | DebugSgRecord): void {
    if (record instanceof DebugRecord) this.#lendSingle(record);
    else this.#lendElements(record);
  }

  unmapping(record: DebugRecord | DebugSgRecord): void {
    if (record instanceof DebugRecord) {
      const { lent } = record;
      if (lent === undefined) return;
      this.#unmapping(lent, record.attributes);
      this.#end(lent);
      record.lent = undefined;
      return;
    }
    for (const piece of record.lent) this.#unmapping(piece, record.attributes);
    while (record.lent.length > 0) this.#end(record.lent.pop()!);
  }

  syncingForCpu(shared: Shared, offset: number, size: number): void {
    this.#each(shared, offset, size, (piece, from, to) => {
      this.#turns.untouched(piece, from, to, 'at syncForCpu');
    });
  }

  syncedForCpu(shared: Shared, offset: number, size: number): void {
    this.#each(shared, offset, size, (piece, from, to) => piece.take(from, to));
  }

  syncingForDevice(shared: Shared, offset: number, size: number): void {
    this.#each(shared, offset, size, (piece, from, to) => {
      this.#turns.taken(piece, from, to, 'synced for the device again');
      // Bytes that the device only reads may be written and given to the device in one step.
      if ((piece.bits & DEVICE_WRITES) !== 0) this.#turns.untouched(piece, from, to, 'at syncForDevice');
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
    const pieces: LentBytes[] = [];
    for (const view of views) {
      const piece = this.#lend(entry, address, view.length, entry.bits, this.#contents ? view : undefined);
      piece.take(0, piece.size);
      piece.inPlaceTo = piece.size;
      this.#share(piece, view);
      pieces.push(piece);
      const start = address - view.byteOffset;
      observeReads(view.buffer, (offset, size) => this.#read(start + offset, size));
      address += view.length;
    }
    this.#buffers.set(handle, pieces);
  }

  /** The CPU reads noncoherent memory through an accessor of the library. */
  #read(address: number, size: number): void {
    if (this.#debug.disabled) return;
    const pieces = this.#judge.reachable.touching(address, size).filter((one) => one instanceof LentBytes);
    const mapped = pieces.some(({ entry }) => entry.way !== undefined);
    for (const piece of pieces) {
      if (mapped && piece.entry.way === undefined) continue;
      const from = Math.max(0, address - piece.address);
      const to = Math.min(piece.size, address + size - piece.address);
      this.#turns.taken(piece, from, to, 'the CPU read them');
    }
  }

  releasing(entry: HeldEntry): void {
    const { handle } = entry;
    if (!isShared(handle)) {
      this.#judge.reachable.remove(entry);
      return;
    }
    for (const piece of this.#buffers.get(handle) ?? []) {
      if (piece.missed) this.#turns.taken(piece, 0, piece.size, 'freed');
      this.#end(piece);
    }
    this.#buffers.delete(handle);
  }

  close(): void {
    for (const one of this.#judge.reachable.all) {
      if (!(one instanceof LentBytes)) continue;
      this.#turns.missed(one);
      indexOf(one).leave(one);
      one.end();
    }
    this.#judge.reachable.clear();
    this.#buffers.clear();
  }

  #lend(
    entry: Entry,
    address: number,
    size: number,
    bits: number,
    source: Uint8Array | undefined,
  ): LentBytes {
    const piece = this.#spare.pop() ?? new LentBytes(this.#snapshots);
    piece.begin(entry, address, size, bits, source);
    piece.atOnce = this.#memory.cache === undefined;
    this.#judge.reachable.add(piece);
    return piece;
  }

  #unmapping(piece: LentBytes, attributes: number): void {
    this.#turns.unmapping(piece, attributes);
    if ((attributes & DMA_ATTR.SKIP_CPU_SYNC) === 0) piece.tellSharers(0, piece.size);
  }

  #end(piece: LentBytes): void {
    this.#judge.reachable.remove(piece);
    indexOf(piece).leave(piece);
    piece.end();
    this.#spare.push(piece);
  }

  /** Calls a function for each part of bytes [offset, offset + size), piece by piece. */
  #each(
    shared: Shared,
    offset: number,
    size: number,
    visit: (piece: LentBytes, from: number, to: number) => void,
  ): void {
    if (shared instanceof DebugRecord) {
      if (shared.lent !== undefined) visit(shared.lent, offset, offset + size);
      return;
    }
    let at = 0;
    for (const piece of shared instanceof DebugSgRecord ? shared.lent : (this.#buffers.get(shared) ?? [])) {
      const from = Math.max(offset - at, 0);
      const to = Math.min(offset + size - at, piece.size);
      if (from < to) visit(piece, from, to);
      at += piece.size;
    }
  }

  #lendSingle(record: DebugRecord): void {
    const { view, way, bits, address, size, attributes } = record;
    let source: Uint8Array | undefined;
    if (view !== undefined) {
      const coherent = this.#isCoherent(view, record.region);
      // The owner does not change: the entry of the buffer or block stands for these bytes.
      if (coherent && way === 'arithmetic') return;
      // If both may write at any time, a change of the contents is no mistake.
      if (this.#contents && !coherent) source = record.source ?? viewedBytes(view);
    }
    record.lent = this.#lend(record, address, size, bits, source);
    this.#expectSync(record.lent, attributes);
    if (view === undefined) return;
    this.#findInPlace(record.lent, way, view);
    this.#share(record.lent, view);
  }

  /** The elements of a list follow each other in its segments. */
  #lendElements(record: DebugSgRecord): void {
    const { views, way, bits, lent, attributes, parts } = record;
    const { addresses, lengths } = record.segments;
    let segment = 0;
    let used = 0;
    for (let i = 0; i < views.length; i++) {
      const view = views[i]!;
      const address = addresses[segment]! + used;
      used += view.byteLength;
      if (used >= lengths[segment]!) {
        segment++;
        used = 0;
      }
      const coherent = this.#isCoherent(view, undefined);
      if (coherent && way === 'arithmetic') continue;
      const source = this.#contents && !coherent ? viewedBytes(view) : undefined;
      const piece = this.#lend(record, address, view.byteLength, bits, source);
      // All elements share the record of reports, so that a mistake is reported for one of them only.
      if (lent.length > 0) piece.told = lent[0]!.told;
      lent.push(piece);
      this.#expectSync(piece, attributes);
      this.#findInPlace(piece, parts[i]?.way ?? way, view);
      this.#share(piece, view);
    }
  }

  /**
   * With SKIP_CPU_SYNC on a device that is not coherent, the driver must sync the bytes for the device itself, unless
   * the device owns them already through another mapping (`#share`).
   */
  #expectSync(piece: LentBytes, attributes: number): void {
    if ((attributes & DMA_ATTR.SKIP_CPU_SYNC) === 0) return;
    piece.skips = true;
    if (this.#memory.cache !== undefined) piece.take(0, piece.size);
  }

  /** Finds the bytes of a mapping that are not copied: all of them, whole pages, or none. */
  #findInPlace(piece: LentBytes, way: MappingWay, view: ArrayBufferView): void {
    if (way === 'bounced') return;
    piece.inPlaceTo = piece.size;
    if (way !== 'pinned' || this.#memory.own.regionOf(view.buffer) !== undefined) return;
    const granule = this.#memory.own.granule;
    const { address, size } = piece;
    piece.inPlaceFrom = Math.min(size, Math.ceil(address / granule) * granule - address);
    piece.inPlaceTo = Math.floor((address + size) / granule) * granule - address;
  }

  /** Connects a new mapping with the others of the same bytes, for any device of the process. */
  #share(piece: LentBytes, view: ArrayBufferView): void {
    indexOf(piece).enter(piece, view, piece.size);
    const { firstByte, size } = piece;
    for (const other of skipping.touching(firstByte, size)) if (other !== piece) piece.share(other);
    if (!piece.skips) return;
    for (const other of syncing.touching(firstByte, size)) piece.share(other);
  }

  /**
   * True for memory that the CPU and a device may use at any time: all own memory of a device except noncoherent
   * allocations.
   */
  #isCoherent(view: ArrayBufferView, known: OwnRegion | undefined): boolean {
    const { own } = this.#memory;
    const region = known ?? own.stampOf(view)?.region ?? own.regionOf(view.buffer);
    return region === undefined ? isCoherentBuffer(view.buffer) : !region.noncoherent;
  }

  /** The device uses bytes that it owns: the CPU must not have changed them. */
  #checkUse(piece: LentBytes, { access, size }: DeviceAccess, start: number): void {
    const from = Math.max(0, start - piece.address);
    const to = Math.min(piece.size, start + size - piece.address);
    const when = access === 'read' ? 'when the device read them' : 'when the device overwrote them';
    this.#turns.untouched(piece, from, to, when, 'device');
  }

  #noteWrite(piece: LentBytes, { size, bytes: data }: DeviceAccess, start: number): void {
    const from = Math.max(0, start - piece.address);
    const to = Math.min(piece.size, start + size - piece.address);
    const skipped = piece.address + from - start;
    piece.write(from, data!.subarray(skipped, skipped + to - from));
  }
}

/** True if it is an allocation that CPU and device own in turn. */
function isShared(handle: HeldEntry['handle']): handle is NoncoherentBuffer | NoncontiguousBuffer {
  return handle instanceof NoncoherentBuffer || handle instanceof NoncontiguousBuffer;
}
