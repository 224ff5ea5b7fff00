/**
 * What dma-debug tells a simulated device that wants to show it, e.g. in a waveform: what the driver did with memory, and
 * which mapping an access of the device belonged to.
 */
import type { DmaEntry, DmaReport } from '../dma/debug-view.ts';

/** The driver made, ended or synced a mapping or an allocation. */
export interface DriverAct {
  readonly act: 'map' | 'unmap' | 'allocate' | 'free' | 'sync-for-cpu' | 'sync-for-device';
  readonly entry: DmaEntry;
  /** Of a sync: which bytes of it. Of the others: all. */
  readonly offset: number;
  readonly size: number;
}

/** An access of the device, before any byte moves. */
export interface ReachedMemory {
  readonly access: 'read' | 'write';
  /** As the device put it on the bus. */
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /** What the driver made there, the mapping rather than the allocation it lies in; undefined when there is nothing. */
  readonly entry: DmaEntry | undefined;
  /** Whether the driver has ended it already. */
  readonly over: boolean;
}

/** Called in the middle of what it tells of: it must neither throw nor use the device. */
export interface DmaObserver {
  /** The driver made, ended or synced a mapping or an allocation. */
  acted(act: DriverAct): void;
  /** The device is about to access memory. */
  reached(memory: ReachedMemory): void;
  /** dma-debug reported a mistake. */
  reported(report: DmaReport): void;
}
