/**
 * A watch looks at bytes and their owners, which the ledger does not. The parts of a device with dma-debug call it
 * before and after each sync and unmap. Which of the two it is, or none, is decided when the device is opened.
 *
 *      SimulationWatch   knows each access of the device, and the contents of memory (simulation-watch.ts)
 *      HardwareWatch     knows the contents of what is copied, and of small memory in place (hardware-watch.ts)
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

/** The memory of the device that is watched. */
export interface WatchedMemory {
  /** The memory that the devices of the domain have allocated. */
  readonly own: OwnMemory;
  /** Where the device's copies are. */
  readonly bounce: BounceBuffer;
  /** Makes CPU and device agree; undefined on a coherent device. */
  readonly cache: CacheMaintenance | undefined;
}

export interface Watch {
  /** A mapping was entered in the ledger: not called for the parts of a list, but once for the list. */
  mapped(record: DebugRecord | DebugSgRecord): void;
  /** It is about to be unmapped: nothing has been copied back yet, and it is still live. */
  unmapping(record: DebugRecord | DebugSgRecord): void;

  /** Before and after bytes [offset, offset + size) change hands; of a list, all of them. */
  syncingForCpu(shared: Shared, offset: number, size: number): void;
  syncedForCpu(shared: Shared, offset: number, size: number): void;
  syncingForDevice(shared: Shared, offset: number, size: number): void;
  syncedForDevice(shared: Shared, offset: number, size: number): void;

  /** Something was allocated. Not called for the blocks of a pool, which are looked for by address when they matter. */
  held(entry: HeldEntry): void;
  /** It is about to be given back: its memory is still there. */
  releasing(entry: HeldEntry): void;

  /** The device is closing. */
  close(): void;
}

/** The bytes of a view that is mapped. */
export function viewedBytes(view: ArrayBufferView): Uint8Array {
  return view instanceof Uint8Array ? view : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
