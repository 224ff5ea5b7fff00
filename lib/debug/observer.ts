/**
 * The events that dma-debug passes to a simulated device that shows them, e.g. in a waveform: the driver's acts with
 * memory, and the mapping that each access of the device belonged to.
 */
import type { DmaEntry, DmaReport } from '../dma/debug-view.ts';

/** The driver made, ended or synced a mapping or an allocation. */
export interface DriverAct {
  readonly act: 'map' | 'unmap' | 'allocate' | 'free' | 'sync-for-cpu' | 'sync-for-device';
  readonly entry: DmaEntry;
  /** The offset and the number of the bytes that were synced. For the other acts these are all bytes of the entry. */
  readonly offset: number;
  readonly size: number;
}

/** An access of the device, before any byte moves. */
export interface ReachedMemory {
  readonly access: 'read' | 'write';
  /** The address that the device put on the bus. */
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /**
   * The mapping or allocation at the address. If a mapping lies in an allocation, it is the mapping. It is undefined if
   * there is none.
   */
  readonly entry: DmaEntry | undefined;
  /** True if the driver has ended the entry already. */
  readonly over: boolean;
}

/** The methods are called in the middle of the event. They must not throw, and must not use the device. */
export interface DmaObserver {
  /** The driver made, ended or synced a mapping or an allocation. */
  acted(act: DriverAct): void;
  /** The device is about to access memory. */
  reached(memory: ReachedMemory): void;
  /** dma-debug reported a mistake. */
  reported(report: DmaReport): void;
}
