/** Extended capabilities of PCI Express functions (PCI Express 5.0, 7.7 to 7.9, and chapters 9 and 10). */
import { CapabilityRegisters } from './capability.ts';

/** Bits of the uncorrectable error registers (7.8.4.2). */
export const AER_UNCORRECTABLE = {
  dataLinkProtocol: 1 << 4,
  surpriseDown: 1 << 5,
  poisonedTlp: 1 << 12,
  flowControlProtocol: 1 << 13,
  completionTimeout: 1 << 14,
  completerAbort: 1 << 15,
  unexpectedCompletion: 1 << 16,
  receiverOverflow: 1 << 17,
  malformedTlp: 1 << 18,
  ecrc: 1 << 19,
  unsupportedRequest: 1 << 20,
  acsViolation: 1 << 21,
  internalError: 1 << 22,
} as const;

/** Bits of the correctable error registers (7.8.4.5). */
export const AER_CORRECTABLE = {
  receiverError: 1 << 0,
  badTlp: 1 << 6,
  badDllp: 1 << 7,
  replayRollover: 1 << 8,
  replayTimeout: 1 << 12,
  advisoryNonFatal: 1 << 13,
  internalError: 1 << 14,
  headerLogOverflow: 1 << 15,
} as const;

const UNCORRECTABLE_STATUS = 0x04;
const UNCORRECTABLE_MASK = 0x08;
const UNCORRECTABLE_SEVERITY = 0x0c;
const CORRECTABLE_STATUS = 0x10;
const CORRECTABLE_MASK = 0x14;
const AER_CONTROL = 0x18;
const HEADER_LOG = 0x1c;

/** Advanced Error Reporting (7.8.4). Numbers are bits, of AER_UNCORRECTABLE and AER_CORRECTABLE. */
export class ErrorReporting extends CapabilityRegisters {
  static readonly bytes = 44;

  /** Uncorrectable errors that happened: bits of AER_UNCORRECTABLE. */
  get uncorrectableStatus(): number {
    return this.read32(UNCORRECTABLE_STATUS);
  }

  /** The errors that are not reported. */
  get uncorrectableMask(): number {
    return this.read32(UNCORRECTABLE_MASK);
  }

  /** Writes it. */
  set uncorrectableMask(bits: number) {
    this.write32(UNCORRECTABLE_MASK, bits);
  }

  /** The errors that are fatal. */
  get uncorrectableSeverity(): number {
    return this.read32(UNCORRECTABLE_SEVERITY);
  }

  /** Writes it. */
  set uncorrectableSeverity(bits: number) {
    this.write32(UNCORRECTABLE_SEVERITY, bits);
  }

  /** Correctable errors that happened: bits of AER_CORRECTABLE. */
  get correctableStatus(): number {
    return this.read32(CORRECTABLE_STATUS);
  }

  /** Correctable errors that are not reported: bits of AER_CORRECTABLE. */
  get correctableMask(): number {
    return this.read32(CORRECTABLE_MASK);
  }

  /** Writes it. */
  set correctableMask(bits: number) {
    this.write32(CORRECTABLE_MASK, bits);
  }

  /** The bit number of the first uncorrectable error. */
  get firstError(): number {
    return this.read32(AER_CONTROL) & 0x1f;
  }

  /** The first four words of the packet that caused that error. */
  get headerLog(): readonly number[] {
    return [0, 4, 8, 12].map((word) => this.read32(HEADER_LOG + word));
  }

  /** Clear the bits that are set in both status registers. */
  clear(): void {
    this.write32(UNCORRECTABLE_STATUS, this.uncorrectableStatus);
    this.write32(CORRECTABLE_STATUS, this.correctableStatus);
  }
}

const SECOND_REGISTER = 0x04;
const CONTROL = 0x06;
const ENABLE = 1 << 15;

/** Address Translation Services (10.5.1). The host decides about their use. */
export class AddressTranslation extends CapabilityRegisters {
  static readonly bytes = 8;

  /** Whether the function asks the IOMMU for translations. */
  get enabled(): boolean {
    return this.has16(CONTROL, ENABLE);
  }

  /** The number of invalidations that the queue takes before it stalls. */
  get invalidateQueueDepth(): number {
    return this.read16(SECOND_REGISTER) & 0x1f || 32;
  }
}

/** Page Request Interface (10.5.2). */
export class PageRequests extends CapabilityRegisters {
  static readonly bytes = 16;

  /** Whether the function may ask for pages. */
  get enabled(): boolean {
    return this.has16(0x04, 1 << 0);
  }

  /** The number of page requests that may be outstanding. */
  get capacity(): number {
    return this.read32(0x08);
  }
}

/** Process Address Space ID (7.8.8). */
export class ProcessAddressSpaces extends CapabilityRegisters {
  static readonly bytes = 8;

  /** Whether the function sends PASIDs. */
  get enabled(): boolean {
    return this.has16(CONTROL, 1 << 0);
  }

  /** The number of bits of an id. */
  get width(): number {
    return (this.read16(SECOND_REGISTER) >>> 8) & 0x1f;
  }

  /** Whether it may ask for execute permission. */
  get executePermission(): boolean {
    return this.has16(SECOND_REGISTER, 1 << 1);
  }

  /** Whether it may ask for privileged accesses. */
  get privilegedMode(): boolean {
    return this.has16(SECOND_REGISTER, 1 << 2);
  }
}

/** Access Control Services (7.7.8): the capability and control registers as bits 0 to 6, source validation first. */
export class AccessControl extends CapabilityRegisters {
  static readonly bytes = 8;

  /** The services that the function has. */
  get supported(): number {
    return this.read16(SECOND_REGISTER) & 0x7f;
  }

  /** The services that are on. */
  get enabled(): number {
    return this.read16(CONTROL) & 0x7f;
  }
}

/** Single Root I/O Virtualization (9.3.3), of a physical function. */
export class SingleRootIov extends CapabilityRegisters {
  static readonly bytes = 64;

  /** True if the virtual functions are enabled. */
  get enabled(): boolean {
    return this.has16(0x08, 1 << 0);
  }

  /** Virtual functions at first (InitialVFs). */
  get initialVfs(): number {
    return this.read16(0x0c);
  }

  /** The most virtual functions that can be on (TotalVFs). */
  get totalVfs(): number {
    return this.read16(0x0e);
  }

  /** Virtual functions that are on (NumVFs). */
  get numVfs(): number {
    return this.read16(0x10);
  }

  /** The distance in routing ids from the physical function to the first virtual one. */
  get vfOffset(): number {
    return this.read16(0x14);
  }

  /** The distance in routing ids from one virtual function to the next. */
  get vfStride(): number {
    return this.read16(0x16);
  }

  /** The device id of the virtual functions. */
  get vfDeviceId(): number {
    return this.read16(0x1a);
  }
}

/** Device Serial Number (7.9.3). */
export class SerialNumber extends CapabilityRegisters {
  static readonly bytes = 12;

  get value(): bigint {
    return (BigInt(this.read32(8)) << 32n) | BigInt(this.read32(4));
  }
}
