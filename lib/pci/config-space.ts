/**
 * Configuration space: the type 0 header by name, both capability lists, and an object for each capability that a
 * driver asks for (PCI Local Bus 3.0, chapter 6; PCI Express 5.0, chapter 7). This class reads nothing before the
 * driver asks for it, and every property reads the device again.
 */
import { describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { registerValue } from '../registers/values.ts';
import {
  type Capability,
  capabilities,
  type ExtendedCapability,
  extendedCapabilities,
  PCI_CAPABILITY,
  PCI_EXTENDED_CAPABILITY,
} from './capabilities/capability.ts';
import { ExpressCapability } from './capabilities/express.ts';
import {
  AccessControl,
  AddressTranslation,
  ErrorReporting,
  PageRequests,
  ProcessAddressSpaces,
  SerialNumber,
  SingleRootIov,
} from './capabilities/extended.ts';
import { MsiCapability, MsixCapability, PowerManagement, VendorCapability } from './capabilities/standard.ts';
import { MULTI_FUNCTION, PCI_HEADER } from './header.ts';
import type { ConfigAccess } from './transport.ts';

/** How to make an object for the capability with that id. */
interface Decoder<T> {
  new (config: ConfigSpace, offset: number): T;
  /**
   * The least number of bytes that the capability has. A capability that the end of the space cuts off counts as
   * absent.
   */
  readonly bytes: number;
}

/** Standard capabilities are below this offset. */
const STANDARD_END = 0x100;

/** Revision and class code together. No device has a class of all ones. */
const ALL_ONES = 0xffff_ffff;

/**
 * Returns true if a device answers. Without a device, a read on the bus returns all ones. The vendor id cannot
 * tell this, because VFIO returns it from memory (init_pci_cap_basic_perm).
 */
export function answers(config: ConfigAccess): boolean {
  return config.read(PCI_HEADER.revisionId, 4) !== ALL_ONES;
}

/** Every access throws DmaError: EINVAL outside the space or misaligned · ENODEV the function is closed. */
export class ConfigSpace {
  readonly #access: ConfigAccess;
  /** Capabilities do not move, so each is searched only once. */
  readonly #found = new Map<Decoder<unknown>, unknown>();

  /** @internal */
  constructor(access: ConfigAccess) {
    this.#access = access;
  }

  /** 256 (conventional PCI) or 4096 (PCI Express) bytes. */
  get size(): number {
    return this.#access.size;
  }

  /** The vendor of the device. */
  get vendorId(): number {
    return this.read16(PCI_HEADER.vendorId);
  }

  /** The vendor's number of the device. */
  get deviceId(): number {
    return this.read16(PCI_HEADER.deviceId);
  }

  /** The command register: bits of PCI_COMMAND. */
  get command(): number {
    return this.read16(PCI_HEADER.command);
  }

  /** Writes it. */
  set command(value: number) {
    this.write16(PCI_HEADER.command, value);
  }

  /** The status register: bits of PCI_STATUS. */
  get status(): number {
    return this.read16(PCI_HEADER.status);
  }

  /** Clear those error bits (PCI_STATUS) that are set in `bits`. */
  clearStatus(bits: number): void {
    this.write16(PCI_HEADER.status, bits);
  }

  /** The revision of the device. */
  get revisionId(): number {
    return this.read8(PCI_HEADER.revisionId);
  }

  /** Base class, subclass and programming interface: 0xBBSSPP. */
  get classCode(): number {
    return this.read8(PCI_HEADER.classCode) | (this.read16(PCI_HEADER.classCode + 1) << 8);
  }

  /** Bytes; 0 if the firmware never set it. PCI Express functions do not use it. */
  get cacheLineSize(): number {
    return 4 * this.read8(PCI_HEADER.cacheLineSize);
  }

  /** In PCI clocks; 0 for PCI Express. */
  get latencyTimer(): number {
    return this.read8(PCI_HEADER.latencyTimer);
  }

  /** The header layout, without the multi-function bit: 0 for every function that is not a bridge. */
  get headerType(): number {
    return this.read8(PCI_HEADER.headerType) & ~MULTI_FUNCTION;
  }

  /** True if the device has other functions, too. */
  get multiFunction(): boolean {
    return (this.read8(PCI_HEADER.headerType) & MULTI_FUNCTION) !== 0;
  }

  /** The built-in self test register: 0 if the function has none. */
  get bist(): number {
    return this.read8(PCI_HEADER.bist);
  }

  /** The vendor of the card. */
  get subsystemVendorId(): number {
    return this.read16(PCI_HEADER.subsystemVendorId);
  }

  /** The number of the card. */
  get subsystemId(): number {
    return this.read16(PCI_HEADER.subsystemId);
  }

  /** The firmware's note about the routing of the line. The device does not use it. */
  get interruptLine(): number {
    return this.read8(PCI_HEADER.interruptLine);
  }

  /** 0 means none; 1 to 4 mean INTA to INTD. */
  get interruptPin(): number {
    return this.read8(PCI_HEADER.interruptPin);
  }

  /** PCI Power Management; every PCI Express function has it. */
  get powerManagement(): PowerManagement | undefined {
    return this.#standard(PowerManagement, PCI_CAPABILITY.powerManagement);
  }

  /** The MSI capability. */
  get msi(): MsiCapability | undefined {
    return this.#standard(MsiCapability, PCI_CAPABILITY.msi);
  }

  /** The MSI-X capability. */
  get msix(): MsixCapability | undefined {
    return this.#standard(MsixCapability, PCI_CAPABILITY.msix);
  }

  /** Undefined for a conventional PCI function. */
  get express(): ExpressCapability | undefined {
    return this.#standard(ExpressCapability, PCI_CAPABILITY.pciExpress);
  }

  /** Vendor-specific capabilities, in the order of the list. */
  get vendorSpecific(): VendorCapability[] {
    return [...this.capabilities()]
      .filter(
        ({ id, offset }) => id === PCI_CAPABILITY.vendor && offset + VendorCapability.bytes <= STANDARD_END,
      )
      .map(({ offset }) => new VendorCapability(this, offset))
      .filter(({ offset, size }) => offset + size <= STANDARD_END);
  }

  /** Advanced Error Reporting. */
  get aer(): ErrorReporting | undefined {
    return this.#extended(ErrorReporting, PCI_EXTENDED_CAPABILITY.aer);
  }

  /** Access Control Services. */
  get acs(): AccessControl | undefined {
    return this.#extended(AccessControl, PCI_EXTENDED_CAPABILITY.acs);
  }

  /** Address Translation Services. */
  get ats(): AddressTranslation | undefined {
    return this.#extended(AddressTranslation, PCI_EXTENDED_CAPABILITY.ats);
  }

  /** Page Request Interface. */
  get pri(): PageRequests | undefined {
    return this.#extended(PageRequests, PCI_EXTENDED_CAPABILITY.pri);
  }

  /** Process Address Space ID. */
  get pasid(): ProcessAddressSpaces | undefined {
    return this.#extended(ProcessAddressSpaces, PCI_EXTENDED_CAPABILITY.pasid);
  }

  /** Single Root I/O Virtualization, of a physical function. */
  get sriov(): SingleRootIov | undefined {
    return this.#extended(SingleRootIov, PCI_EXTENDED_CAPABILITY.sriov);
  }

  /** Device Serial Number, an EUI-64. */
  get serialNumber(): bigint | undefined {
    return this.#extended(SerialNumber, PCI_EXTENDED_CAPABILITY.serialNumber)?.value;
  }

  /** The capability list, in the order of the device. The list ends where it loops or leaves the space. */
  capabilities(): Generator<Capability> {
    return capabilities(this);
  }

  /**
   * The extended capability list (PCI Express 5.0, 7.6.3); empty if the space has 256 bytes. The list ends where
   * it loops, where it leaves the space, or where the device does not answer.
   */
  extendedCapabilities(): Generator<ExtendedCapability> {
    return extendedCapabilities(this);
  }

  /** Offset of the first capability with this id (pci_find_capability), or undefined. */
  findCapability(id: number): number | undefined {
    for (const capability of this.capabilities()) if (capability.id === id) return capability.offset;
    return undefined;
  }

  /** Offset of the first extended capability with this id (pci_find_ext_capability), or undefined. */
  findExtendedCapability(id: number): number | undefined {
    for (const capability of this.extendedCapabilities()) if (capability.id === id) return capability.offset;
    return undefined;
  }

  /** 8 bits of configuration space (pci_read_config_byte). */
  read8(offset: number): number {
    return this.#read(offset, 1);
  }

  /** 16 bits of configuration space, at an even offset (pci_read_config_word). */
  read16(offset: number): number {
    return this.#read(offset, 2);
  }

  /** 32 bits of configuration space, at a multiple of 4 (pci_read_config_dword). */
  read32(offset: number): number {
    return this.#read(offset, 4);
  }

  /** Writes 8 bits (pci_write_config_byte). */
  write8(offset: number, value: number): void {
    this.#write(offset, 1, value);
  }

  /** Writes 16 bits, at an even offset (pci_write_config_word). */
  write16(offset: number, value: number): void {
    this.#write(offset, 2, value);
  }

  /** Writes 32 bits, at a multiple of 4 (pci_write_config_dword). */
  write32(offset: number, value: number): void {
    this.#write(offset, 4, value);
  }

  #standard<T>(decoder: Decoder<T>, id: number): T | undefined {
    return this.#known(decoder) ?? this.#decode(decoder, this.findCapability(id), STANDARD_END);
  }

  #extended<T>(decoder: Decoder<T>, id: number): T | undefined {
    return this.#known(decoder) ?? this.#decode(decoder, this.findExtendedCapability(id), this.size);
  }

  #known<T>(decoder: Decoder<T>): T | undefined {
    return this.#found.get(decoder) as T | undefined;
  }

  #decode<T>(decoder: Decoder<T>, offset: number | undefined, end: number): T | undefined {
    if (offset === undefined || offset + decoder.bytes > end) return undefined;
    const decoded = new decoder(this, offset);
    this.#found.set(decoder, decoded);
    return decoded;
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
    throw new DmaError('EINVAL', `${width * 8}-bit access at ${describe(offset)} of configuration space`, {
      remedy: `use a multiple of ${width} below ${this.size}`,
    });
  }
}
