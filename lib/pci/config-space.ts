/** Configuration space: the standard header by name, and the capability list (PCI Local Bus 3.0, chapter 6). */
import { DmaError } from '../errors.ts';
import { registerValue } from '../registers/registers.ts';
import type { ConfigAccess } from './transport.ts';

/** Offsets of the type 0 header. */
const VENDOR_ID = 0x00;
const DEVICE_ID = 0x02;
const COMMAND = 0x04;
const STATUS = 0x06;
const REVISION_ID = 0x08;
const CLASS_CODE = 0x09;
const HEADER_TYPE = 0x0e;
const SUBSYSTEM_VENDOR_ID = 0x2c;
const SUBSYSTEM_ID = 0x2e;
const CAPABILITIES_POINTER = 0x34;
const INTERRUPT_PIN = 0x3d;

const STATUS_CAPABILITIES = 1 << 4;
const FIRST_CAPABILITY = 0x40;

/** Bits of the command register. */
export const PCI_COMMAND = { io: 1 << 0, memory: 1 << 1, master: 1 << 2, intxDisable: 1 << 10 } as const;

/** Capability ids a driver looks for (PCI Code and ID Assignment). */
export const PCI_CAPABILITY = {
  powerManagement: 0x01,
  msi: 0x05,
  vendor: 0x09,
  pciExpress: 0x10,
  msix: 0x11,
} as const;

export interface Capability {
  readonly id: number;
  /** Of the capability's first byte in configuration space. */
  readonly offset: number;
}

/** Every access throws DmaError: EINVAL outside the space or misaligned · ENODEV function closed. */
export class ConfigSpace {
  readonly #access: ConfigAccess;

  constructor(access: ConfigAccess) {
    this.#access = access;
  }

  /** 256 (conventional PCI) or 4096 (PCI Express) bytes. */
  get size(): number {
    return this.#access.size;
  }

  get vendorId(): number {
    return this.read16(VENDOR_ID);
  }

  get deviceId(): number {
    return this.read16(DEVICE_ID);
  }

  get command(): number {
    return this.read16(COMMAND);
  }

  set command(value: number) {
    this.write16(COMMAND, value);
  }

  get status(): number {
    return this.read16(STATUS);
  }

  get revisionId(): number {
    return this.read8(REVISION_ID);
  }

  /** Base class, subclass and programming interface: 0xBBSSPP. */
  get classCode(): number {
    return this.read8(CLASS_CODE) | (this.read16(CLASS_CODE + 1) << 8);
  }

  /** Header layout without the multi-function bit. */
  get headerType(): number {
    return this.read8(HEADER_TYPE) & 0x7f;
  }

  get subsystemVendorId(): number {
    return this.read16(SUBSYSTEM_VENDOR_ID);
  }

  get subsystemId(): number {
    return this.read16(SUBSYSTEM_ID);
  }

  /** 0 none, 1 to 4 for INTA to INTD. */
  get interruptPin(): number {
    return this.read8(INTERRUPT_PIN);
  }

  /** The capability list, in the order of the device. A list that loops or leaves the space ends there. */
  *capabilities(): Generator<Capability> {
    if ((this.status & STATUS_CAPABILITIES) === 0) return;
    const seen = new Set<number>();
    let offset = this.read8(CAPABILITIES_POINTER) & ~3;
    while (offset >= FIRST_CAPABILITY && offset < 0x100 && !seen.has(offset)) {
      seen.add(offset);
      yield { id: this.read8(offset), offset };
      offset = this.read8(offset + 1) & ~3;
    }
  }

  /** Offset of the first capability with this id (pci_find_capability), or undefined. */
  findCapability(id: number): number | undefined {
    for (const capability of this.capabilities()) if (capability.id === id) return capability.offset;
    return undefined;
  }

  read8(offset: number): number {
    return this.#read(offset, 1);
  }

  read16(offset: number): number {
    return this.#read(offset, 2);
  }

  read32(offset: number): number {
    return this.#read(offset, 4);
  }

  write8(offset: number, value: number): void {
    this.#write(offset, 1, value);
  }

  write16(offset: number, value: number): void {
    this.#write(offset, 2, value);
  }

  write32(offset: number, value: number): void {
    this.#write(offset, 4, value);
  }

  #read(offset: number, width: 1 | 2 | 4): number {
    this.#check(offset, width);
    return this.#access.read(offset, width);
  }

  #write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#check(offset, width);
    this.#access.write(offset, width, registerValue(value, width));
  }

  #check(offset: number, width: number): void {
    if (Number.isInteger(offset) && offset >= 0 && offset % width === 0 && offset + width <= this.size)
      return;
    throw new DmaError('EINVAL', `${width * 8}-bit access at ${String(offset)} of configuration space`, {
      remedy: `use a multiple of ${width} below ${this.size}`,
    });
  }
}
