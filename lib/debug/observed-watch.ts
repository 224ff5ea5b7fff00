/** The watch of a simulated device that is told what happens (observer.ts). */
import type { DeviceAccess } from '../iommu/device-access.ts';
import type { DmaDebug } from './debug.ts';
import { describeEntry, type Entry, type HeldEntry } from './entry.ts';
import type { DmaObserver, DriverAct } from './observer.ts';
import { DebugRecord, DebugSgRecord } from './records.ts';
import { SimulationWatch } from './simulation-watch.ts';
import type { Shared, WatchedMemory } from './watch.ts';

/** A SimulationWatch that also tells an observer of each mapping, sync, allocation, access and report. */
export class ObservedWatch extends SimulationWatch {
  readonly #debug: DmaDebug;
  readonly #memory: WatchedMemory;
  readonly #observer: DmaObserver;

  constructor(
    debug: DmaDebug,
    memory: WatchedMemory,
    neighbours: () => Iterable<SimulationWatch | undefined>,
    observer: DmaObserver,
  ) {
    super(debug, memory, neighbours);
    this.#debug = debug;
    this.#memory = memory;
    this.#observer = observer;
    debug.onReport((report) => observer.reported(report));
  }

  override access(access: DeviceAccess): void {
    super.access(access);
    const address = Number(access.address);
    const { size } = access;
    const live = this.entryAt(address, size) ?? this.#debug.blockAt(this.#memory.own, address);
    const entry = live ?? this.#debug.ledger.findReleased(address, size);
    this.#observer.reached({
      access: access.access,
      address,
      size,
      entry: entry && describeEntry(entry),
      over: entry !== undefined && !entry.live,
    });
  }

  override mapped(record: DebugRecord | DebugSgRecord): void {
    super.mapped(record);
    this.#tell('map', record);
  }

  override unmapping(record: DebugRecord | DebugSgRecord): void {
    super.unmapping(record);
    this.#tell('unmap', record);
  }

  override held(entry: HeldEntry): void {
    super.held(entry);
    this.#tell('allocate', entry);
  }

  override releasing(entry: HeldEntry): void {
    super.releasing(entry);
    this.#tell('free', entry);
  }

  override syncedForCpu(shared: Shared, offset: number, size: number): void {
    super.syncedForCpu(shared, offset, size);
    this.#tell('sync-for-cpu', this.#entryOf(shared), offset, size);
  }

  override syncedForDevice(shared: Shared, offset: number, size: number): void {
    super.syncedForDevice(shared, offset, size);
    this.#tell('sync-for-device', this.#entryOf(shared), offset, size);
  }

  #entryOf(shared: Shared): Entry | undefined {
    if (shared instanceof DebugRecord || shared instanceof DebugSgRecord) return shared;
    return this.#debug.ledger.heldBy(shared);
  }

  #tell(act: DriverAct['act'], entry: Entry | undefined, offset = 0, size = entry?.size ?? 0): void {
    if (entry !== undefined) this.#observer.acted({ act, entry: describeEntry(entry), offset, size });
  }
}
