/** The interfaces for the author of a simulated device: the author writes a DeviceModel, and it gets a DeviceBus. */
import { argumentError, checkMethods } from '../arguments.ts';
import type { DmaObserver } from '../debug/observer.ts';

/** A width of a register access that JavaScript numbers hold. */
export type Width = 1 | 2 | 4;

/** The description of the function in its configuration space. */
export interface FunctionDescription {
  /** 0 to 0xfffe. An empty slot answers with all ones. */
  readonly vendorId: number;
  /** 16 bits. */
  readonly deviceId: number;
  /** 8 bits. Default 0. */
  readonly revision?: number;
  /** Base class, subclass, programming interface: 0xBBSSPP. Default 0xff0000, "fits no class". */
  readonly classCode?: number;
  /** 16 bits each. Default: `vendorId` and `deviceId`. */
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** True if it has a legacy interrupt line (INTA). Default false. */
  readonly intx?: boolean;
  /** MSI vectors: 1, 2, 4, 8, 16 or 32. Default: no MSI. */
  readonly msi?: number;
  readonly msix?: MsixDescription;
  /** PCI Express endpoint with 4096 bytes of configuration space; default false: conventional, 256 bytes. */
  readonly express?: boolean;
  /** True if the function can be reset alone. Default false. */
  readonly functionLevelReset?: boolean;
  /**
   * Power states. Default: an Express function has D0 and D3hot and keeps every register; a conventional one has no
   * power management.
   */
  readonly power?: PowerDescription;
  /** True if an Express function has Advanced Error Reporting. Default false. */
  readonly errorReporting?: boolean;
  /** Device Serial Number of an Express function, an EUI-64. Default: none. */
  readonly serialNumber?: bigint;
  /** More extended capabilities of an Express function, in this order. */
  readonly extended?: readonly ExtendedDescription[];
  /**
   * More standard capabilities, in this order, behind those that the fields above create, e.g. a vendor-specific one
   * (9), or the subsystem of a bridge (13). Default: none.
   */
  readonly capabilities?: readonly CapabilityDescription[];
  /**
   * The size of the pieces that the device always reads whole, in bytes: a power of two up to 4096, e.g. the beat of
   * an AXI master. Reading beside a mapping is no mistake within a piece that contains a byte of the mapping. Writing
   * there is one. Default 1.
   */
  readonly readGranule?: number;
  /** Expansion ROM: a power of two of at least 2048 bytes. Default: none. */
  readonly rom?: Uint8Array;
}

/** A capability in the first 256 bytes (PCI Local Bus 3.0, 6.7). */
export interface CapabilityDescription {
  /** 1 to 254, except the ids that other fields of the description create. */
  readonly id: number;
  /**
   * The bytes that follow the id and the link. The first byte of a vendor-specific capability is its length,
   * including those two bytes. The library fills in a length of 0.
   */
  readonly registers: Uint8Array;
  /** Bits that a driver may write, and bits that writing 1 clears, at the same places. Default: none. */
  readonly writable?: Uint8Array;
  readonly clearable?: Uint8Array;
}

/** The power states that the function has. */
export interface PowerDescription {
  /** True if it has the states D1 and D2. Default false. */
  readonly d1?: boolean;
  readonly d2?: boolean;
  /** True if it keeps its registers on the way from D3hot to D0. If not, `reset` is called then. Default true. */
  readonly noSoftReset?: boolean;
}

/** An extended capability (PCI Express 5.0, 7.6.3). */
export interface ExtendedDescription {
  /** 1 to 0xfffe. */
  readonly id: number;
  /** 0 to 15. Default 1. */
  readonly version?: number;
  /** The bytes that follow the header of 4 bytes. */
  readonly registers: Uint8Array;
  /** Bits a driver may write, and bits that writing 1 clears, at the same places. Default: none. */
  readonly writable?: Uint8Array;
  readonly clearable?: Uint8Array;
}

/**
 * The places of the MSI-X table and the pending bits. The host owns them: the model's registers must be elsewhere.
 */
export interface MsixDescription {
  /** 1 to 2048. */
  readonly vectors: number;
  /** The BAR of the table. It must be a memory BAR. */
  readonly bar: number;
  /** Offset of the table in that BAR: a multiple of 8, below 4 GiB. 16 bytes for each vector. */
  readonly table: number;
  /** The BAR of the pending bits. Default: the BAR of the table. */
  readonly pendingBar?: number;
  /** Offset of the pending bits in their BAR: a multiple of 8, below 4 GiB. 8 bytes for each 64 vectors. */
  readonly pending: number;
}

/** A BAR that the function has. */
export interface BarDescription {
  /** 0 to 5. A 64-bit BAR takes the next number, too. */
  readonly index: number;
  /** Bytes, a power of two: at least 16 for memory, 4 for I/O. */
  readonly size: number;
  /** Default `memory`. */
  readonly kind?: 'memory' | 'io';
  /** Default false. */
  readonly is64Bit?: boolean;
  /** Default false. */
  readonly prefetchable?: boolean;
}

/**
 * A device. Its methods run inside the driver's register accesses and must not wait. Give work that takes time to
 * `bus.after`. Offsets are inside the BAR and multiples of the width. Values are unsigned and fit the width.
 */
export interface DeviceModel {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];

  /** False for a model that must be called inside the register accesses of the driver, and so never lags. */
  readonly lags?: false;

  /** Called once, before anything else. */
  attach(bus: DeviceBus): void;

  /** Registers as after power-up: called after `attach`, and at each function-level reset. */
  reset(): void;

  /** The driver reads a register. @param offset bytes @param width bytes: 1, 2 or 4 */
  read(bar: number, offset: number, width: Width): number;
  /** The driver writes a register. @param offset bytes @param width bytes: 1, 2 or 4 */
  write(bar: number, offset: number, width: Width, value: number): void;

  /**
   * Called after a driver has released the device: its function was closed, or is gone. It is for a model that holds
   * a resource of the host, e.g. a file or a socket. The device stays in its slot, and may be opened again without a
   * `reset`.
   */
  close?(): void;

  /**
   * The present activity of the device in words, e.g. its current descriptor. It is called when an access fails, for
   * the fault's `about`. Undefined, or no method: there is nothing to tell.
   */
  activity?(): string | undefined;

  /** Is told what the driver does with memory, if the function is opened with dma-debug. Default: none. */
  readonly observer?: DmaObserver;

  /** One 64-bit access. Without these two methods the bus makes two 32-bit accesses of it, low word first. */
  read64?(bar: number, offset: number): bigint;
  /** One write of 64 bits. A model without it gets two writes of 32, the lower half first. */
  write64?(bar: number, offset: number, value: bigint): void;
}

/** The slot of a device, as the device sees it. */
export interface DeviceBus {
  /**
   * Read memory. Where the device may not read, it gets zeros. Faults are recorded, and so is any DMA while the
   * driver has not enabled bus mastering. Returns false if a part of the read failed. Not every real device learns
   * that: PCI Express answers a read with an error and a write with nothing; an AXI interconnect answers both with
   * DECERR.
   * @param high bits 32 to 63 of the address, if `address` is only its low half (signed or not). Descriptors hold
   *   addresses like that, and such an access makes no garbage.
   */
  dmaRead(address: bigint | number, into: Uint8Array, high?: number): boolean;
  /**
   * Write memory. Where the device may not write, nothing changes. Otherwise as `dmaRead`.
   * @param relaxed true if the write has the attribute Relaxed Ordering. It may then pass earlier writes, if the
   *   driver has enabled that in Device Control and the device lags (`SimulateOptions.lag`). Default false
   */
  dmaWrite(address: bigint | number, from: Uint8Array, high?: number, relaxed?: boolean): boolean;

  /**
   * Interrupt. If the driver has enabled messages, this sends the MSI or MSI-X message of `vector`. Otherwise the
   * INTx line goes up and stays up until `lower`.
   * @throws DmaError EINVAL the function described no such vector
   */
  raise(vector?: number): void;
  /** True if the driver has enabled messages: MSI or MSI-X. */
  readonly messages: boolean;
  /** Lower the INTx line. Does nothing for messages. */
  lower(): void;

  /**
   * Run `action` once, `microseconds` of simulated time from now (more than 0; less than 1 counts as 1). A reset
   * cancels it. Each register read takes 1 us, and time jumps to the next action when the driver is idle. Time stands
   * still while the function is closed.
   * @throws DmaError EINVAL the time is not valid
   */
  after(microseconds: number, action: () => void): void;

  /** Simulated microseconds since power-up. */
  readonly now: number;

  /**
   * The device falls off the bus, as if it was pulled out (`SimulatedSource.unplug`): for a model whose inside has failed.
   * After `plugIn` it is there again, with a `reset`.
   */
  unplug(): void;

  /** Record a mistake of the driver that only this device notices. It is listed with the DMA faults. */
  report(address: bigint | number, size: number, access: 'read' | 'write', reason: string): void;
}

/** Throws DmaError EINVAL if the value is not a model. */
export function checkModel(model: unknown): void {
  const remedy =
    typeof model === 'function'
      ? 'pass an object of the class: simulate(new Model())'
      : 'pass a DeviceModel: config, bars, attach, reset, read and write';
  checkMethods(model, 'the model', ['attach', 'reset', 'read', 'write'], remedy);
  const { config, bars } = model as DeviceModel;
  if (typeof config !== 'object' || config === null)
    throw argumentError('config of the model', config, remedy);
  if (!Array.isArray(bars)) throw argumentError('bars of the model', bars, remedy);
}
