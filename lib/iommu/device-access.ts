/** The accesses of a simulated device, as dma-debug sees them (lib/debug/access.ts). */
import type { Fault, FaultLog } from './fault.ts';

/** One access, before any byte of it moves. */
export interface DeviceAccess {
  /** As the device put it on the bus. */
  readonly address: bigint | number;
  /** Bytes, at least 1. */
  readonly size: number;
  readonly access: 'read' | 'write';
  /** The bytes that the device writes; undefined for a read. */
  readonly bytes: Uint8Array | undefined;
  /** The first thing that will keep some of it from happening; undefined when nothing does. */
  readonly fault: Fault | undefined;
  /**
   * Bytes of the pieces that the device reads whole, whatever it needs of them: 1 for a device that reads what it
   * needs.
   */
  readonly readGranule: number;
  /** The device's activity in words, as far as its model tells it. */
  readonly about: () => string | undefined;
}

export type AccessObserver = (access: DeviceAccess) => void;

/** One of the devices whose DMA goes through an address space: what it did wrong is its own. */
export interface Requester {
  readonly faults: FaultLog;
  /** See `FunctionDescription.readGranule`. Default 1. */
  readonly readGranule?: number | undefined;
  /** Told of every access of the device before any byte moves, also of those that the bus refuses. */
  onAccess: AccessObserver | undefined;
  /** Told of a message interrupt for a vector that the driver has never armed. */
  onLostInterrupt?: ((kind: string, vector: number) => void) | undefined;
}
