/**
 * Configuration space of a simulated function: a type 0 header, its BARs with the sizing protocol, and capability
 * lists (PCI Local Bus 3.0, chapter 6). One byte array holds the values, one the bits a driver may write, one the bits
 * that writing 1 clears.
 */
import type { BarInfo } from '../pci/bar.ts';
import type { ConfigAccess } from '../pci/transport.ts';
import { extendedCapabilities } from './description.ts';
import type { ExtendedDescription, FunctionDescription, MsixDescription, PowerDescription } from './model.ts';

const COMMAND = 0x04;
const STATUS = 0x06;
const BAR0 = 0x10;
const ROM = 0x30;
const CAPABILITIES = 0x34;
const INTERRUPT_LINE = 0x3c;
const INTERRUPT_PIN = 0x3d;
const FIRST_CAPABILITY = 0x40;
const FIRST_EXTENDED_CAPABILITY = 0x100;

const COMMAND_IO = 1 << 0;
const COMMAND_MEMORY = 1 << 1;
const COMMAND_MASTER = 1 << 2;
const COMMAND_PARITY = 1 << 6;
const COMMAND_SERR = 1 << 8;
const COMMAND_INTX_DISABLE = 1 << 10;
const STATUS_INTERRUPT = 1 << 3;
const STATUS_CAPABILITIES = 1 << 4;
const STATUS_ERRORS = 0xf900;

const MSI_ENABLE = 1 << 0;
const MSI_64BIT = 1 << 7;
const MSIX_ENABLE = 1 << 15;
const EXPRESS_VERSION_2 = 2;
const EXPRESS_FLR = 1 << 28;
/** 2.5 GT/s, one lane. */
const EXPRESS_LINK = 0x11;
const PM_VERSION = 3;
const PM_D1 = 1 << 9;
const PM_D2 = 1 << 10;
const PM_STATE = 3;
const PM_NO_SOFT_RESET = 1 << 3;
const AF_TRANSACTIONS_PENDING_AND_FLR = 3;

/** Where the firmware of this simulated machine starts to place BARs. */
const FIRST_BAR_ADDRESS = 0xc0000000;

export class SimulatedConfigSpace implements ConfigAccess {
  readonly size: number;
  readonly #values: DataView;
  readonly #writable: DataView;
  readonly #clearable: DataView;
  readonly #messageControl = new Map<'msi' | 'msix', number>();
  /** Offset of PMCSR; 0 for a function without power management. */
  #powerControl = 0;
  /** Numbers of the states it has. A write of any other one changes nothing. */
  #powerStates: readonly number[] = [0];
  #awake = true;
  #nextCapability = FIRST_CAPABILITY;
  #link = CAPABILITIES;
  #nextExtended = FIRST_EXTENDED_CAPABILITY;
  #lastExtended = 0;

  /** As a function is handed to a driver: memory and I/O decode on, bus mastering off. */
  constructor(description: FunctionDescription, bars: readonly BarInfo[]) {
    this.size = description.express ? 4096 : 256;
    this.#values = new DataView(new ArrayBuffer(this.size));
    this.#writable = new DataView(new ArrayBuffer(this.size));
    this.#clearable = new DataView(new ArrayBuffer(this.size));
    this.#addHeader(description);
    this.#addCommand(bars);
    let address = FIRST_BAR_ADDRESS;
    for (const bar of bars) address = this.#addBar(bar, address);
    if (description.msi !== undefined) this.#addMsi(description.msi);
    if (description.msix !== undefined) this.#addMsix(description.msix);
    if (description.express) this.#addExpress(description.functionLevelReset ?? false);
    else if (description.functionLevelReset) this.#addAdvancedFeatures();
    if (description.express || description.power !== undefined) this.#addPower(description.power ?? {});
    for (const extended of extendedCapabilities(description)) this.#addExtended(extended);
  }

  read(offset: number, width: 1 | 2 | 4): number {
    return get(this.#values, offset, width);
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    const mask = get(this.#writable, offset, width);
    const kept = this.read(offset, width) & ~mask & ~(value & get(this.#clearable, offset, width));
    const before = this.powerState;
    set(this.#values, offset, width, (kept | (value & mask)) >>> 0);
    if (!this.#powerStates.includes(this.powerState)) this.#setPowerState(before);
    this.#awake = this.powerState === 0;
  }

  /** Whether the function is in D0. In any other state it answers nothing but configuration accesses, and starts nothing. */
  get awake(): boolean {
    return this.#awake;
  }

  /** Whether the function loses its registers on the way from D3hot to D0. */
  get losesRegisters(): boolean {
    return this.#powerControl !== 0 && (this.#values.getUint8(this.#powerControl) & PM_NO_SOFT_RESET) === 0;
  }

  /** The power state's number, 0 to 3. */
  get powerState(): number {
    return this.#powerControl === 0 ? 0 : this.#values.getUint8(this.#powerControl) & PM_STATE;
  }

  /** A reset ends in D0. */
  wake(): void {
    if (this.#powerControl !== 0) this.#setPowerState(0);
    this.#awake = true;
  }

  /** Whether the function answers accesses of this kind. */
  decodes(kind: 'memory' | 'io'): boolean {
    return this.awake && (this.#command & (kind === 'memory' ? COMMAND_MEMORY : COMMAND_IO)) !== 0;
  }

  get busMaster(): boolean {
    return this.awake && (this.#command & COMMAND_MASTER) !== 0;
  }

  get intxDisabled(): boolean {
    return !this.awake || (this.#command & COMMAND_INTX_DISABLE) !== 0;
  }

  /** Interrupt status: the level of the function's INTx line. */
  setInterruptStatus(level: boolean): void {
    const status = this.read(STATUS, 2) & ~STATUS_INTERRUPT;
    set(this.#values, STATUS, 2, status | (level ? STATUS_INTERRUPT : 0));
  }

  /** The enable bit of the MSI or MSI-X capability. The host owns it: a driver's write does not change it. */
  setMessagesEnabled(kind: 'msi' | 'msix', enabled: boolean): void {
    const offset = this.#messageControl.get(kind)!;
    const bit = kind === 'msi' ? MSI_ENABLE : MSIX_ENABLE;
    set(this.#values, offset, 2, (this.read(offset, 2) & ~bit) | (enabled ? bit : 0));
  }

  get #command(): number {
    return this.#values.getUint16(COMMAND, true);
  }

  #setPowerState(state: number): void {
    const others = this.#values.getUint8(this.#powerControl) & ~PM_STATE;
    this.#values.setUint8(this.#powerControl, others | state);
  }

  #addHeader(description: FunctionDescription): void {
    const { vendorId, deviceId, revision = 0, classCode = 0xff0000 } = description;
    this.#put(0x00, 2, vendorId);
    this.#put(0x02, 2, deviceId);
    this.#put(0x08, 1, revision);
    this.#put(0x09, 1, classCode & 0xff);
    this.#put(0x0a, 2, classCode >>> 8);
    this.#put(0x2c, 2, description.subsystemVendorId ?? vendorId);
    this.#put(0x2e, 2, description.subsystemId ?? deviceId);
    set(this.#clearable, STATUS, 2, STATUS_ERRORS);
    const { rom } = description;
    if (rom !== undefined) this.#put(ROM, 4, 0, (-rom.length | 1) >>> 0);
    this.#put(INTERRUPT_LINE, 1, 0, 0xff);
    this.#put(INTERRUPT_PIN, 1, description.intx ? 1 : 0);
  }

  #addCommand(bars: readonly BarInfo[]): void {
    const decode = bars.reduce((bits, { kind }) => bits | (kind === 'io' ? COMMAND_IO : COMMAND_MEMORY), 0);
    const others = COMMAND_MASTER | COMMAND_PARITY | COMMAND_SERR | COMMAND_INTX_DISABLE;
    this.#put(COMMAND, 2, decode, decode | others);
  }

  /** Only address bits at or above the size are writable: writing all ones and reading back tells the size. */
  #addBar({ index, size, kind, is64Bit, prefetchable }: BarInfo, free: number): number {
    const offset = BAR0 + 4 * index;
    const address = BigInt(Math.ceil(free / size) * size);
    const flags = kind === 'io' ? 1 : (is64Bit ? 4 : 0) | (prefetchable ? 8 : 0);
    const mask = -BigInt(size);
    this.#put(offset, 4, low(address) + flags, low(mask));
    if (is64Bit) this.#put(offset + 4, 4, high(address), high(mask));
    return Number(address) + size;
  }

  #addMsi(vectors: number): void {
    const offset = this.#addCapability(0x05, 14);
    this.#put(offset + 2, 2, (Math.log2(vectors) << 1) | MSI_64BIT, 0x70);
    this.#put(offset + 4, 4, 0, 0xfffffffc);
    this.#put(offset + 8, 4, 0, 0xffffffff);
    this.#put(offset + 12, 2, 0, 0xffff);
    this.#messageControl.set('msi', offset + 2);
  }

  #addMsix({ vectors, bar, table, pending }: MsixDescription): void {
    const offset = this.#addCapability(0x11, 12);
    this.#put(offset + 2, 2, vectors - 1, 1 << 14);
    this.#put(offset + 4, 4, table + bar);
    this.#put(offset + 8, 4, pending + bar);
    this.#messageControl.set('msix', offset + 2);
  }

  #addExpress(functionLevelReset: boolean): void {
    const offset = this.#addCapability(0x10, 60);
    this.#put(offset + 2, 2, EXPRESS_VERSION_2);
    this.#put(offset + 4, 4, functionLevelReset ? EXPRESS_FLR : 0);
    this.#put(offset + 8, 2, 0, 0x7fff);
    set(this.#clearable, offset + 10, 2, 0xf);
    this.#put(offset + 12, 4, EXPRESS_LINK);
    this.#put(offset + 18, 2, EXPRESS_LINK);
    this.#put(offset + 40, 2, 0, 0x1f);
  }

  #addPower({ d1 = false, d2 = false, noSoftReset = true }: PowerDescription): void {
    const offset = this.#addCapability(0x01, 8);
    this.#put(offset + 2, 2, PM_VERSION | (d1 ? PM_D1 : 0) | (d2 ? PM_D2 : 0));
    this.#put(offset + 4, 2, noSoftReset ? PM_NO_SOFT_RESET : 0, PM_STATE);
    this.#powerControl = offset + 4;
    this.#powerStates = [0, ...(d1 ? [1] : []), ...(d2 ? [2] : []), 3];
  }

  /** Appends to the extended list. What does not fit any more is refused by `describeBars`. */
  #addExtended({ id, version = 1, registers, writable, clearable }: ExtendedDescription): void {
    const offset = this.#nextExtended;
    this.#put(offset, 4, (id | (version << 16)) >>> 0);
    copy(registers, this.#values, offset + 4);
    if (writable !== undefined) copy(writable, this.#writable, offset + 4);
    if (clearable !== undefined) copy(clearable, this.#clearable, offset + 4);
    if (this.#lastExtended !== 0) {
      set(this.#values, this.#lastExtended, 4, (this.read(this.#lastExtended, 4) | (offset << 20)) >>> 0);
    }
    this.#lastExtended = offset;
    this.#nextExtended = Math.ceil((offset + 4 + registers.length) / 4) * 4;
  }

  #addAdvancedFeatures(): void {
    const offset = this.#addCapability(0x13, 6);
    this.#put(offset + 2, 1, 6);
    this.#put(offset + 3, 1, AF_TRANSACTIONS_PENDING_AND_FLR);
  }

  /** Appends to the list; capabilities start at multiples of 4. */
  #addCapability(id: number, size: number): number {
    const offset = this.#nextCapability;
    this.#put(offset, 1, id);
    this.#put(this.#link, 1, offset);
    this.#put(STATUS, 2, this.read(STATUS, 2) | STATUS_CAPABILITIES);
    this.#link = offset + 1;
    this.#nextCapability = Math.ceil((offset + size) / 4) * 4;
    return offset;
  }

  #put(offset: number, width: 1 | 2 | 4, value: number, writable = 0): void {
    set(this.#values, offset, width, value);
    set(this.#writable, offset, width, writable);
  }
}

function copy(from: Uint8Array, to: DataView, offset: number): void {
  new Uint8Array(to.buffer).set(from, offset);
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
