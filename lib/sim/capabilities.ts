/**
 * The capabilities of a simulated function as bytes. Some come from fields of its description, and the others are
 * given as bytes. A driver may write the bits that vfio-pci lets it write (drivers/vfio/pci/vfio_pci_config.c). A
 * write that the host would ignore has no effect here either.
 */
import { PCI_CAPABILITY } from '../pci/capabilities/capability.ts';
import type {
  CapabilityDescription,
  ExtendedDescription,
  FunctionDescription,
  MsixDescription,
  PowerDescription,
} from './model.ts';

/** Ids of the capabilities that fields of the description create. */
export const CAPABILITY = {
  power: PCI_CAPABILITY.powerManagement,
  msi: PCI_CAPABILITY.msi,
  express: PCI_CAPABILITY.pciExpress,
  msix: PCI_CAPABILITY.msix,
  advancedFeatures: PCI_CAPABILITY.advancedFeatures,
} as const;
const VENDOR = PCI_CAPABILITY.vendor;

const MSI_64BIT = 1 << 7;
const EXPRESS_VERSION_2 = 2;
const EXPRESS_FLR = 1 << 28;
/** All bits of the device control register except phantom functions, which the host controls, and the reset bit. */
const EXPRESS_CONTROL = 0x7dff;
/** 2.5 GT/s, one lane. */
const EXPRESS_LINK = 0x11;
const PM_VERSION = 3;
export const PM_D1 = 1 << 9;
export const PM_D2 = 1 << 10;
export const PM_STATE = 3;
export const PM_NO_SOFT_RESET = 1 << 3;
/** End-to-end checksums, which the function can generate and check. */
const ECRC_CAPABLE = 0xa0;
const ECRC_ENABLE = 0x140;
const AF_LENGTH = 6;
const AF_TRANSACTIONS_PENDING_AND_FLR = 3;

/** All standard capabilities of a function, in the order of its list. */
export function standardCapabilities(description: FunctionDescription): readonly CapabilityDescription[] {
  const { msi, msix, express, functionLevelReset = false, power, capabilities = [] } = description;
  return [
    ...(msi === undefined ? [] : [msiCapability(msi)]),
    ...(msix === undefined ? [] : [msixCapability(msix)]),
    ...(express ? [expressCapability(functionLevelReset)] : []),
    ...(functionLevelReset && !express ? [advancedFeatures()] : []),
    ...(express || power !== undefined ? [powerCapability(power ?? {})] : []),
    ...capabilities.map(withLength),
  ];
}

/** All extended capabilities of a function, in the order of its list. */
export function extendedCapabilities({
  errorReporting,
  serialNumber,
  extended = [],
}: FunctionDescription): readonly ExtendedDescription[] {
  return [
    ...(errorReporting ? [errorCapability()] : []),
    ...(serialNumber === undefined ? [] : [serialCapability(serialNumber)]),
    ...extended,
  ];
}

function msiCapability(vectors: number): CapabilityDescription {
  const image = new Image(14);
  const most = Math.log2(vectors);
  // vfio-pci keeps its own copy of this register. All bits of the copy can be written, except the enable bit and the
  // bits for more vectors than there are.
  const granted = ((1 << Math.ceil(Math.log2(most + 1))) - 1) << 4;
  image.put(2, 2, (most << 1) | MSI_64BIT, 0x8e | granted);
  image.put(4, 4, 0, 0xffffffff);
  image.put(8, 4, 0, 0xffffffff);
  image.put(12, 2, 0, 0xffff);
  return image.capability(CAPABILITY.msi);
}

/** The host owns the whole capability, including the function mask. */
function msixCapability({
  vectors,
  bar,
  table,
  pendingBar = bar,
  pending,
}: MsixDescription): CapabilityDescription {
  const image = new Image(12);
  image.put(2, 2, vectors - 1);
  image.put(4, 4, table + bar);
  image.put(8, 4, pending + pendingBar);
  return image.capability(CAPABILITY.msix);
}

function expressCapability(functionLevelReset: boolean): CapabilityDescription {
  const image = new Image(60);
  image.put(2, 2, EXPRESS_VERSION_2);
  image.put(4, 4, functionLevelReset ? EXPRESS_FLR : 0);
  image.put(8, 2, 0, EXPRESS_CONTROL);
  image.put(12, 4, EXPRESS_LINK);
  image.put(18, 2, EXPRESS_LINK);
  image.put(40, 2, 0, 0x1f);
  return image.capability(CAPABILITY.express);
}

function powerCapability({
  d1 = false,
  d2 = false,
  noSoftReset = true,
}: PowerDescription): CapabilityDescription {
  const image = new Image(8);
  image.put(2, 2, PM_VERSION | (d1 ? PM_D1 : 0) | (d2 ? PM_D2 : 0));
  image.put(4, 2, noSoftReset ? PM_NO_SOFT_RESET : 0, PM_STATE);
  return image.capability(CAPABILITY.power);
}

function advancedFeatures(): CapabilityDescription {
  const image = new Image(6);
  image.put(2, 1, AF_LENGTH);
  image.put(3, 1, AF_TRANSACTIONS_PENDING_AND_FLR);
  return image.capability(CAPABILITY.advancedFeatures);
}

/** The length byte of a vendor-specific capability counts the header, too. */
function withLength(capability: CapabilityDescription): CapabilityDescription {
  const { id, registers } = capability;
  if (id !== VENDOR || registers.length === 0 || registers[0] !== 0) return capability;
  const filled = registers.slice();
  filled[0] = registers.length + 2;
  return { ...capability, registers: filled };
}

/** Advanced Error Reporting. Every error is reported, and no error is recorded. */
function errorCapability(): ExtendedDescription {
  const image = new Image(44);
  const [uncorrectable, correctable] = [0x03fff030, 0x0000f1c1];
  image.clear(4, uncorrectable);
  image.put(8, 4, 0, uncorrectable);
  // The values that the specification gives after a reset: the errors that are fatal, and those that are not
  // reported.
  image.put(12, 4, 0x00462030, uncorrectable);
  image.clear(16, correctable);
  image.put(20, 4, 0x0000e000, correctable);
  image.put(24, 4, ECRC_CAPABLE, ECRC_ENABLE);
  return image.extended(0x01, 2);
}

function serialCapability(value: bigint): ExtendedDescription {
  const registers = new Uint8Array(8);
  new DataView(registers.buffer).setBigUint64(0, value, true);
  return { id: 0x03, registers };
}

/** A capability under construction. Offsets count from its first byte, as in specifications. */
class Image {
  readonly #values: DataView;
  readonly #writable: DataView;
  readonly #clearable: DataView;

  constructor(size: number) {
    this.#values = new DataView(new ArrayBuffer(size));
    this.#writable = new DataView(new ArrayBuffer(size));
    this.#clearable = new DataView(new ArrayBuffer(size));
  }

  put(offset: number, width: 1 | 2 | 4, value: number, writable = 0): void {
    set(this.#values, offset, width, value);
    set(this.#writable, offset, width, writable);
  }

  /** Bits of a 32-bit register that writing 1 clears. */
  clear(offset: number, bits: number): void {
    set(this.#clearable, offset, 4, bits);
  }

  capability(id: number): CapabilityDescription {
    return { id, ...this.#behind(2) };
  }

  extended(id: number, version: number): ExtendedDescription {
    return { id, version, ...this.#behind(4) };
  }

  /** The bytes behind a header of so many bytes. */
  #behind(header: number): Required<Pick<CapabilityDescription, 'registers' | 'writable' | 'clearable'>> {
    const bytes = ({ buffer }: DataView) => new Uint8Array(buffer as ArrayBuffer, header);
    return {
      registers: bytes(this.#values),
      writable: bytes(this.#writable),
      clearable: bytes(this.#clearable),
    };
  }
}

function set(view: DataView, offset: number, width: 1 | 2 | 4, value: number): void {
  if (width === 1) view.setUint8(offset, value);
  else if (width === 2) view.setUint16(offset, value, true);
  else view.setUint32(offset, value, true);
}
