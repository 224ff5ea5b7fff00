/**
 * Configuration space of a simulated function: a type 0 header, its BARs with the sizing protocol, and capability
 * lists (PCI Local Bus 3.0, chapter 6). One byte array holds the values, one the bits that a driver may write, and
 * one the bits that writing 1 clears. A few bits have an effect instead: they reset the function, or change its power
 * state.
 */
import type { BarInfo } from '../pci/bar.ts';
import {
  FIRST_CAPABILITY,
  FIRST_EXTENDED_CAPABILITY,
  MULTI_FUNCTION,
  PCI_BAR,
  PCI_COMMAND,
  PCI_HEADER,
  PCI_STATUS,
} from '../pci/header.ts';
import type { ConfigAccess } from '../pci/transport.ts';
import {
  CAPABILITY,
  extendedCapabilities,
  PM_D1,
  PM_D2,
  PM_NO_SOFT_RESET,
  PM_STATE,
  standardCapabilities,
} from './capabilities.ts';
import { placeBars } from './firmware.ts';
import type { CapabilityDescription, ExtendedDescription, FunctionDescription } from './model.ts';

/** Bits of the command register that a driver may change. */
const COMMAND_WRITABLE = Object.values(PCI_COMMAND).reduce((bits, bit) => bits | bit, 0);

const MESSAGE_CONTROL = 2;
const MSI_ENABLE = 1 << 0;
const MSIX_ENABLE = 1 << 15;
/** The device control register of PCI Express, and its bit Enable Relaxed Ordering. */
const DEVICE_CONTROL = 8;
const RELAXED_ORDERING = 1 << 4;
/** The offset of the power management control register (PMCSR), and the number of the state D3hot. */
const PM_CONTROL = 4;
const D3HOT = 3;
/** The byte of the device control register that has the reset bit, and the bit. The bit always reads 0. */
const EXPRESS_FLR: ResetBit = { register: 9, bit: 1 << 7 };
const ADVANCED_FLR: ResetBit = { register: 4, bit: 1 << 0 };

interface ResetBit {
  readonly register: number;
  readonly bit: number;
}

/** The effect of a write, other than changed bits: a function-level reset, or leaving D3hot without registers. */
export type WriteEffect = 'function' | 'power';

/** The configuration space of a simulated function. */
export class SimulatedConfigSpace implements ConfigAccess {
  readonly size: number;
  readonly #values: DataView;
  readonly #writable: DataView;
  readonly #clearable: DataView;
  readonly #messageControl = new Map<'msi' | 'msix', number>();
  /**
   * The bit that resets the function when a driver writes it, and the offset of its byte; undefined if there is none.
   */
  #reset: ResetBit | undefined;
  /** Offset of the device control register; 0 for a function without PCI Express. */
  #deviceControl = 0;
  /** Offset of PMCSR; 0 for a function without power management. */
  #powerControl = 0;
  /** The numbers of its power states. A write of any other number changes nothing. */
  #powerStates: readonly number[] = [0];
  #awake = true;
  #nextCapability = FIRST_CAPABILITY;
  #link: number = PCI_HEADER.capabilities;
  #nextExtended = FIRST_EXTENDED_CAPABILITY;
  #lastExtended = 0;

  /**
   * The space as a driver gets it: memory and I/O decode on, bus mastering off.
   * @param multiFunction true if the device has other functions
   */
  constructor(description: FunctionDescription, bars: readonly BarInfo[], multiFunction = false) {
    this.size = description.express ? 4096 : 256;
    this.#values = new DataView(new ArrayBuffer(this.size));
    this.#writable = new DataView(new ArrayBuffer(this.size));
    this.#clearable = new DataView(new ArrayBuffer(this.size));
    this.#addHeader(description, multiFunction);
    this.#addCommand(bars);
    const addresses = placeBars(bars);
    for (const bar of bars) this.#addBar(bar, BigInt(addresses.get(bar.index)!));
    for (const capability of standardCapabilities(description)) {
      this.#know(capability.id, this.#addCapability(capability), description);
    }
    for (const extended of extendedCapabilities(description)) this.#addExtended(extended);
  }

  read(offset: number, width: 1 | 2 | 4): number {
    return get(this.#values, offset, width);
  }

  /** Returns the effect that the write has on the device, if any. */
  write(offset: number, width: 1 | 2 | 4, value: number): WriteEffect | undefined {
    const mask = get(this.#writable, offset, width);
    const kept = this.read(offset, width) & ~mask & ~(value & get(this.#clearable, offset, width));
    const before = this.powerState;
    set(this.#values, offset, width, (kept | (value & mask)) >>> 0);
    if (!this.#powerStates.includes(this.powerState)) this.#setPowerState(before);
    this.#awake = this.powerState === 0;
    if (this.#resets(offset, width, value)) return 'function';
    return before === D3HOT && this.#awake && this.#losesRegisters ? 'power' : undefined;
  }

  /**
   * True if the function is in D0. In any other state it answers only configuration accesses, and starts no access.
   */
  get awake(): boolean {
    return this.#awake;
  }

  /** The power state's number, 0 to 3. */
  get powerState(): number {
    return this.#powerControl === 0 ? 0 : this.#values.getUint8(this.#powerControl) & PM_STATE;
  }

  /** After a reset the function is in D0. */
  wake(): void {
    if (this.#powerControl !== 0) this.#setPowerState(0);
    this.#awake = true;
  }

  /** True if the function answers accesses of this kind. */
  decodes(kind: 'memory' | 'io'): boolean {
    return this.awake && (this.#command & PCI_COMMAND[kind]) !== 0;
  }

  get busMaster(): boolean {
    return this.awake && (this.#command & PCI_COMMAND.master) !== 0;
  }

  /** True if the driver allows the function to relax the order of its writes (Enable Relaxed Ordering). */
  get relaxedOrdering(): boolean {
    return this.#deviceControl !== 0 && (this.read(this.#deviceControl, 2) & RELAXED_ORDERING) !== 0;
  }

  get intxDisabled(): boolean {
    return !this.awake || (this.#command & PCI_COMMAND.intxDisable) !== 0;
  }

  /** Interrupt status: the level of the function's INTx line. */
  setInterruptStatus(level: boolean): void {
    const status = this.read(PCI_HEADER.status, 2) & ~PCI_STATUS.interrupt;
    set(this.#values, PCI_HEADER.status, 2, status | (level ? PCI_STATUS.interrupt : 0));
  }

  /** The enable bit of the MSI or MSI-X capability. The host owns it: a driver's write does not change it. */
  setMessagesEnabled(kind: 'msi' | 'msix', enabled: boolean): void {
    const offset = this.#messageControl.get(kind)!;
    const bit = kind === 'msi' ? MSI_ENABLE : MSIX_ENABLE;
    set(this.#values, offset, 2, (this.read(offset, 2) & ~bit) | (enabled ? bit : 0));
  }

  get #command(): number {
    return this.#values.getUint16(PCI_HEADER.command, true);
  }

  #setPowerState(state: number): void {
    const others = this.#values.getUint8(this.#powerControl) & ~PM_STATE;
    this.#values.setUint8(this.#powerControl, others | state);
  }

  /** True if the function loses its registers on the way from D3hot to D0. */
  get #losesRegisters(): boolean {
    return this.#powerControl !== 0 && (this.#values.getUint8(this.#powerControl) & PM_NO_SOFT_RESET) === 0;
  }

  /** True if a write sets the bit that resets the function. */
  #resets(offset: number, width: number, value: number): boolean {
    if (this.#reset === undefined) return false;
    const at = this.#reset.register - offset;
    return at >= 0 && at < width && ((value >>> (8 * at)) & this.#reset.bit) !== 0;
  }

  #addHeader(description: FunctionDescription, multiFunction: boolean): void {
    const { vendorId, deviceId, revision = 0, classCode = 0xff0000 } = description;
    this.#put(PCI_HEADER.vendorId, 2, vendorId);
    this.#put(PCI_HEADER.deviceId, 2, deviceId);
    this.#put(PCI_HEADER.revisionId, 1, revision);
    this.#put(PCI_HEADER.classCode, 1, classCode & 0xff);
    this.#put(PCI_HEADER.classCode + 1, 2, classCode >>> 8);
    this.#put(PCI_HEADER.headerType, 1, multiFunction ? MULTI_FUNCTION : 0);
    this.#put(PCI_HEADER.subsystemVendorId, 2, description.subsystemVendorId ?? vendorId);
    this.#put(PCI_HEADER.subsystemId, 2, description.subsystemId ?? deviceId);
    this.#put(PCI_HEADER.cacheLineSize, 1, 0, 0xff);
    const { rom } = description;
    if (rom !== undefined) this.#put(PCI_HEADER.rom, 4, 0, (-rom.length | 1) >>> 0);
    this.#put(PCI_HEADER.interruptLine, 1, 0, 0xff);
    this.#put(PCI_HEADER.interruptPin, 1, description.intx ? 1 : 0);
  }

  #addCommand(bars: readonly BarInfo[]): void {
    const decode = bars.reduce((bits, { kind }) => bits | PCI_COMMAND[kind], 0);
    this.#put(PCI_HEADER.command, 2, decode, COMMAND_WRITABLE);
  }

  /**
   * Only the address bits from the size upwards can be written. So a driver learns the size by writing all ones and
   * reading back.
   */
  #addBar({ index, size, kind, is64Bit, prefetchable }: BarInfo, address: bigint): void {
    const offset = PCI_HEADER.bar0 + 4 * index;
    const flags =
      kind === 'io'
        ? PCI_BAR.io
        : (is64Bit ? PCI_BAR.is64Bit : 0) | (prefetchable ? PCI_BAR.prefetchable : 0);
    const mask = -BigInt(size);
    this.#put(offset, 4, low(address) + flags, low(mask));
    if (is64Bit) this.#put(offset + 4, 4, high(address), high(mask));
  }

  /** Stores the place of a capability that this class itself uses. */
  #know(id: number, offset: number, { functionLevelReset }: FunctionDescription): void {
    if (id === CAPABILITY.msi) this.#messageControl.set('msi', offset + MESSAGE_CONTROL);
    if (id === CAPABILITY.msix) this.#messageControl.set('msix', offset + MESSAGE_CONTROL);
    if (id === CAPABILITY.express) this.#deviceControl = offset + DEVICE_CONTROL;
    if (id === CAPABILITY.power) {
      const has = this.read(offset + 2, 2);
      this.#powerControl = offset + PM_CONTROL;
      this.#powerStates = [0, ...(has & PM_D1 ? [1] : []), ...(has & PM_D2 ? [2] : []), D3HOT];
    }
    if (!functionLevelReset) return;
    if (id === CAPABILITY.express) this.#reset = { ...EXPRESS_FLR, register: offset + EXPRESS_FLR.register };
    if (id === CAPABILITY.advancedFeatures) {
      this.#reset = { ...ADVANCED_FLR, register: offset + ADVANCED_FLR.register };
    }
  }

  /** Appends to the extended list. `describeBars` has refused capabilities that do not fit. */
  #addExtended({ id, version = 1, registers, writable, clearable }: ExtendedDescription): void {
    const offset = this.#nextExtended;
    this.#put(offset, 4, (id | (version << 16)) >>> 0);
    this.#copy(offset + 4, registers, writable, clearable);
    if (this.#lastExtended !== 0) {
      set(this.#values, this.#lastExtended, 4, (this.read(this.#lastExtended, 4) | (offset << 20)) >>> 0);
    }
    this.#lastExtended = offset;
    this.#nextExtended = Math.ceil((offset + 4 + registers.length) / 4) * 4;
  }

  /** Appends to the standard list. Returns the offset. `describeBars` has refused capabilities that do not fit. */
  #addCapability({ id, registers, writable, clearable }: CapabilityDescription): number {
    const offset = this.#nextCapability;
    this.#put(offset, 1, id);
    this.#put(this.#link, 1, offset);
    this.#put(PCI_HEADER.status, 2, this.read(PCI_HEADER.status, 2) | PCI_STATUS.capabilities);
    this.#copy(offset + 2, registers, writable, clearable);
    this.#link = offset + 1;
    this.#nextCapability = Math.ceil((offset + 2 + registers.length) / 4) * 4;
    return offset;
  }

  #copy(
    offset: number,
    registers: Uint8Array,
    writable: Uint8Array | undefined,
    clearable: Uint8Array | undefined,
  ): void {
    const copy = (from: Uint8Array, to: DataView) => new Uint8Array(to.buffer).set(from, offset);
    copy(registers, this.#values);
    if (writable !== undefined) copy(writable, this.#writable);
    if (clearable !== undefined) copy(clearable, this.#clearable);
  }

  #put(offset: number, width: 1 | 2 | 4, value: number, writable = 0): void {
    set(this.#values, offset, width, value);
    set(this.#writable, offset, width, writable);
  }
}

function get(view: DataView, offset: number, width: 1 | 2 | 4): number {
  if (width === 1) return view.getUint8(offset);
  return width === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
}

function set(view: DataView, offset: number, width: 1 | 2 | 4, value: number): void {
  if (width === 1) view.setUint8(offset, value);
  else if (width === 2) view.setUint16(offset, value, true);
  else view.setUint32(offset, value, true);
}

function low(value: bigint): number {
  return Number(BigInt.asUintN(32, value));
}

function high(value: bigint): number {
  return Number(BigInt.asUintN(32, value >> 32n));
}
