/**
 * A watch looks at bytes and their owners. The ledger does not. The parts of a device with dma-debug call the watch
 * before and after each sync and unmap. A device gets one of the two watches, or none, when it is opened.
 *
 *      SimulationWatch   knows each access of the device, and the contents of memory (simulation-watch.ts)
 *      HardwareWatch     knows the contents of copied memory, and of small memory in place (hardware-watch.ts)
 */
import type { CacheMaintenance } from '../cache.ts';
import type { BounceBuffer } from '../dma/bounce/bounce.ts';
import type { NoncoherentBuffer } from '../dma/buffers/noncoherent.ts';
import type { NoncontiguousBuffer } from '../dma/buffers/noncontiguous.ts';
import type { OwnMemory } from '../dma/operations/own-memory.ts';
import type { HeldEntry } from './entry.ts';
import type { DebugRecord, DebugSgRecord } from './records.ts';

/** Memory whose owner changes by syncs. */
export type Shared = DebugRecord | DebugSgRecord | NoncoherentBuffer | NoncontiguousBuffer;

/** The memory of the watched device. */
export interface WatchedMemory {
  /** The memory that the devices of the domain have allocated. */
  readonly own: OwnMemory;
  /** The device's copies. */
  readonly bounce: BounceBuffer;
  /** Makes CPU and device agree; undefined on a coherent device. */
  readonly cache: CacheMaintenance | undefined;
}

export interface Watch {
  /** A mapping was recorded in the ledger. For a list it is called once for the list, and not for its parts. */
  mapped(record: DebugRecord | DebugSgRecord): void;
  /** The mapping is about to be unmapped. It is still live, and nothing has been copied back yet. */
  unmapping(record: DebugRecord | DebugSgRecord): void;

  /** Called before and after bytes [offset, offset + size) change owner. For a list these are all its bytes. */
  syncingForCpu(shared: Shared, offset: number, size: number): void;
  syncedForCpu(shared: Shared, offset: number, size: number): void;
  syncingForDevice(shared: Shared, offset: number, size: number): void;
  syncedForDevice(shared: Shared, offset: number, size: number): void;

  /** An allocation was made. Not called for the blocks of a pool; a watch finds them by address if it needs them. */
  held(entry: HeldEntry): void;
  /** The allocation is about to be freed: its memory still exists. */
  releasing(entry: HeldEntry): void;

  /** The device is closing. @param records of the mappings that are still live, those of lists included */
  close(records: Iterable<DebugRecord>): void;
}

/** The bytes of a view that is mapped. */
export function viewedBytes(view: ArrayBufferView): Uint8Array {
  return view instanceof Uint8Array ? view : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
