/** What the author of a simulated device writes: one DeviceModel. What it gets: one DeviceBus. */
import { argumentError, checkMethods } from '../arguments.ts';

/** A width of a register access that JavaScript numbers hold. */
export type Width = 1 | 2 | 4;

/** What the function's configuration space says about it. */
export interface FunctionDescription {
  /** 0 to 0xfffe: all ones is the answer of an empty slot. */
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
  /** Whether it has a legacy interrupt line (INTA). Default false. */
  readonly intx?: boolean;
  /** MSI vectors: 1, 2, 4, 8, 16 or 32. Default: no MSI. */
  readonly msi?: number;
  readonly msix?: MsixDescription;
  /** PCI Express endpoint with 4096 bytes of configuration space; default false: conventional, 256 bytes. */
  readonly express?: boolean;
  /** Whether the function can be reset alone. Default false. */
  readonly functionLevelReset?: boolean;
  /** Default: D0 and D3hot with every register kept, for an Express function; none for a conventional one. */
  readonly power?: PowerDescription;
  /** Advanced Error Reporting, of an Express function. Default false. */
  readonly errorReporting?: boolean;
  /** Device Serial Number of an Express function, an EUI-64. Default: none. */
  readonly serialNumber?: bigint;
  /** More extended capabilities of an Express function, in this order. */
  readonly extended?: readonly ExtendedDescription[];
  /**
   * More standard capabilities, in this order, behind those that the fields above make: a vendor's (9), the subsystem
   * of a bridge (13). Default: none.
   */
  readonly capabilities?: readonly CapabilityDescription[];
  /**
   * Bytes of the pieces that the device reads whole, whatever it needs of them: a power of two up to 4096, e.g. the
   * beat of an AXI master. What it reads beside a mapping in a piece of the mapping is no mistake then; what it writes
   * is. Default 1.
   */
  readonly readGranule?: number;
  /** Expansion ROM: a power of two of at least 2048 bytes. Default: none. */
  readonly rom?: Uint8Array;
}

/** A capability in the first 256 bytes (PCI Local Bus 3.0, 6.7). */
export interface CapabilityDescription {
  /** 1 to 254, and not one that another field of the description makes. */
  readonly id: number;
  /**
   * The bytes that follow the id and the link. The first byte of a vendor's capability is its length, with these two: a
   * length of 0 is filled in.
   */
  readonly registers: Uint8Array;
  /** Bits that a driver may write, and bits that writing 1 clears, at the same places. Default: none. */
  readonly writable?: Uint8Array;
  readonly clearable?: Uint8Array;
}

export interface PowerDescription {
  /** Whether it has the states D1 and D2. Default false. */
  readonly d1?: boolean;
  readonly d2?: boolean;
  /** Whether it keeps its registers on the way from D3hot to D0; if not, `reset` is called then. Default true. */
  readonly noSoftReset?: boolean;
}

/** An extended capability (PCI Express 5.0, 7.6.3). */
export interface ExtendedDescription {
  /** 1 to 0xfffe. */
  readonly id: number;
  /** 0 to 15. Default 1. */
  readonly version?: number;
  /** What follows the header of 4 bytes. */
  readonly registers: Uint8Array;
  /** Bits a driver may write, and bits that writing 1 clears, at the same places. Default: none. */
  readonly writable?: Uint8Array;
  readonly clearable?: Uint8Array;
}

/** Where the MSI-X table and the pending bits are. The host owns them: the model's registers are elsewhere. */
export interface MsixDescription {
  /** 1 to 2048. */
  readonly vectors: number;
  /** BAR of the table: one of memory. */
  readonly bar: number;
  /** Offset of the table in that BAR: a multiple of 8, below 4 GiB. 16 bytes for each vector. */
  readonly table: number;
  /** BAR of the pending bits. Default: that of the table. */
  readonly pendingBar?: number;
  /** Offset of the pending bits in their BAR: a multiple of 8, below 4 GiB. 8 bytes for each 64 vectors. */
  readonly pending: number;
}

export interface BarDescription {
  /** 0 to 5. A 64-bit BAR takes the next number too. */
  readonly index: number;
  /** Bytes, a power of two: at least 16 of memory, 4 of I/O. */
  readonly size: number;
  /** Default `memory`. */
  readonly kind?: 'memory' | 'io';
  /** Default false. */
  readonly is64Bit?: boolean;
  /** Default false. */
  readonly prefetchable?: boolean;
}

/**
 * A device. Its methods run inside the driver's register accesses and must not wait: what takes time is handed to
 * `bus.after`. Offsets are inside the BAR and multiples of the width; values are unsigned and fit the width.
 */
export interface DeviceModel {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];

  /** False for a model that has to be called inside the register accesses of the driver, and so never lags. */
  readonly lags?: false;

  /** Called once, before anything else. */
  attach(bus: DeviceBus): void;

  /** Registers as after power-up: called after `attach`, and at each function-level reset. */
  reset(): void;

  read(bar: number, offset: number, width: Width): number;
  write(bar: number, offset: number, width: Width, value: number): void;

  /**
   * Called when a driver has let the device go: its function was closed, or is gone. For a model that holds something
   * of the host's, e.g. a file or a socket. The device stays in its slot, and may be opened again without a `reset`.
   */
  close?(): void;

  /**
   * What the device is doing now, e.g. which descriptor it is at, in words: asked for when something goes wrong, for
   * the fault's `about`. Undefined, or no such method: nothing to say.
   */
  activity?(): string | undefined;

  /** One 64-bit access. Without these two the bus makes two 32-bit ones of it, low word first. */
  read64?(bar: number, offset: number): bigint;
  write64?(bar: number, offset: number, value: bigint): void;
}

/** The device's side of the slot it is plugged into. */
export interface DeviceBus {
  /**
   * Read memory: zeros where it may not. Faults are recorded; so is any DMA while the driver has not enabled bus
   * mastering. False when not all of it was there, which not every device is told: PCI Express answers a read with an
   * error and a write with nothing, an AXI interconnect both with DECERR.
   * @param high bits 32 to 63, for an `address` that is the low half alone, signed or not: descriptors have addresses
   *   like that, and no access leaves garbage then
   */
  dmaRead(address: bigint | number, into: Uint8Array, high?: number): boolean;
  /**
   * Write memory; nothing changes where the device may not write. As `dmaRead`.
   * @param relaxed the write has the attribute Relaxed Ordering: it may pass earlier writes if the driver has enabled
   *   that in Device Control and the device lags (`SimulateOptions.lag`). Default false
   */
  dmaWrite(address: bigint | number, from: Uint8Array, high?: number, relaxed?: boolean): boolean;

  /**
   * Interrupt: the MSI or MSI-X message of `vector` when the driver has enabled messages, else the INTx line goes
   * up and stays up until `lower`.
   * @throws DmaError EINVAL the function described no such vector
   */
  raise(vector?: number): void;
  /** Whether the driver has enabled messages: MSI or MSI-X. */
  readonly messages: boolean;
  /** Let the INTx line go. Nothing to do for messages. */
  lower(): void;

  /**
   * Run `action` once, `microseconds` of simulated time from now (more than 0; less than 1 counts as 1). A reset
   * cancels it. Time passes at 1 us for each register read, and jumps to the next action whenever the driver is idle;
   * it stands still while the function is closed.
   * @throws DmaError EINVAL no such time
   */
  after(microseconds: number, action: () => void): void;

  /** Simulated microseconds since power-up. */
  readonly now: number;

  /** Record a mistake of the driver that only this device notices, beside the DMA faults. */
  report(address: bigint | number, size: number, access: 'read' | 'write', reason: string): void;
}

/** Throws DmaError EINVAL for anything but a model. */
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
