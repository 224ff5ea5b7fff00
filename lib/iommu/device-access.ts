/** The accesses of a simulated device, as dma-debug sees them (lib/debug/access.ts). */
import type { Fault, FaultLog } from './fault.ts';

/** One access of the device, before any byte of it moves. */
export interface DeviceAccess {
  /** The address that the device put on the bus. */
  readonly address: bigint | number;
  /** Bytes, at least 1. */
  readonly size: number;
  readonly access: 'read' | 'write';
  /** The bytes that the device writes; undefined for a read. */
  readonly bytes: Uint8Array | undefined;
  /** The first fault that will stop a part of the access; undefined if the whole access will succeed. */
  readonly fault: Fault | undefined;
  /**
   * The size of the pieces that the device always reads whole, in bytes. It is 1 for a device that reads only the
   * bytes that it needs.
   */
  readonly readGranule: number;
  /** The device's activity in words, if its model describes it. */
  readonly about: () => string | undefined;
}

export type AccessObserver = (access: DeviceAccess) => void;

/** One of the devices whose DMA goes through an address space. Its faults are recorded with it. */
export interface Requester {
  readonly faults: FaultLog;
  /** See `FunctionDescription.readGranule`. Default 1. */
  readonly readGranule?: number | undefined;
  /** Called for every access of the device before any byte moves, also for accesses that the bus refuses. */
  onAccess: AccessObserver | undefined;
  /** Called for a message interrupt of a vector that the driver has never armed. */
  onLostInterrupt?: ((kind: string, vector: number) => void) | undefined;
}
