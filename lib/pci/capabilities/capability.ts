/** Capabilities: the two lists that hold them, and the common part of the decoded ones. */
import type { ConfigSpace } from '../config-space.ts';
import { FIRST_CAPABILITY, FIRST_EXTENDED_CAPABILITY, PCI_HEADER, PCI_STATUS } from '../header.ts';

/** Capability ids a driver looks for (PCI Code and ID Assignment). */
export const PCI_CAPABILITY = {
  powerManagement: 0x01,
  msi: 0x05,
  vendor: 0x09,
  pciExpress: 0x10,
  msix: 0x11,
  advancedFeatures: 0x13,
} as const;

/** Ids of extended capabilities, for functions with 4096 bytes of configuration space. */
export const PCI_EXTENDED_CAPABILITY = {
  aer: 0x01,
  serialNumber: 0x03,
  vendor: 0x0b,
  acs: 0x0d,
  ats: 0x0f,
  sriov: 0x10,
  pri: 0x13,
  pasid: 0x1b,
} as const;

/** An entry of the list of capabilities (PCI Local Bus 3.0, 6.7). */
export interface Capability {
  readonly id: number;
  /** Offset of the capability's first byte in configuration space. */
  readonly offset: number;
}

/** An entry of the list of extended capabilities (PCI Express 5.0, 7.6). */
export interface ExtendedCapability extends Capability {
  readonly version: number;
}

/** See `ConfigSpace.capabilities`. */
export function* capabilities(config: ConfigSpace): Generator<Capability> {
  if ((config.status & PCI_STATUS.capabilities) === 0) return;
  const seen = new Set<number>();
  let offset = config.read8(PCI_HEADER.capabilities) & ~3;
  while (offset >= FIRST_CAPABILITY && offset < FIRST_EXTENDED_CAPABILITY && !seen.has(offset)) {
    seen.add(offset);
    const id = config.read8(offset);
    if (id === 0xff) return; // no device answers
    yield { id, offset };
    offset = config.read8(offset + 1) & ~3;
  }
}

/** See `ConfigSpace.extendedCapabilities`. */
export function* extendedCapabilities(config: ConfigSpace): Generator<ExtendedCapability> {
  const seen = new Set<number>();
  let offset = FIRST_EXTENDED_CAPABILITY;
  while (offset >= FIRST_EXTENDED_CAPABILITY && offset + 4 <= config.size && !seen.has(offset)) {
    seen.add(offset);
    const header = config.read32(offset);
    const id = header & 0xffff;
    if (header === 0 || id === 0xffff) return;
    // VFIO hides a capability at the head of the list: it shows the id 0 there, and keeps the link.
    if (id !== 0) yield { id, version: (header >>> 16) & 0xf, offset };
    offset = (header >>> 20) & ~3;
  }
}

/** One capability at its offset. Every property of the derived classes reads the device. */
export abstract class CapabilityRegisters {
  /** Offset of its first byte in configuration space. */
  readonly offset: number;
  protected readonly config: ConfigSpace;

  constructor(config: ConfigSpace, offset: number) {
    this.config = config;
    this.offset = offset;
  }

  protected read16(register: number): number {
    return this.config.read16(this.offset + register);
  }

  protected read32(register: number): number {
    return this.config.read32(this.offset + register);
  }

  protected write16(register: number, value: number): void {
    this.config.write16(this.offset + register, value);
  }

  protected write32(register: number, value: number): void {
    this.config.write32(this.offset + register, value);
  }

  protected has16(register: number, bit: number): boolean {
    return (this.read16(register) & bit) !== 0;
  }

  protected has32(register: number, bit: number): boolean {
    return (this.read32(register) & bit) !== 0;
  }
}
