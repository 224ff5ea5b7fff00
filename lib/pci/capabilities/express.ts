/** The PCI Express capability (PCI Express 5.0, 7.5.3). */
import { CapabilityRegisters } from './capability.ts';

/** Kinds of devices and ports (PCI Express 5.0, 7.5.3.2). */
export type ExpressPortType =
  | 'endpoint'
  | 'legacy-endpoint'
  | 'root-port'
  | 'upstream-port'
  | 'downstream-port'
  | 'pcie-to-pci-bridge'
  | 'pci-to-pcie-bridge'
  | 'root-complex-endpoint'
  | 'root-complex-event-collector'
  | 'reserved';

/** Keyed by the number in the capabilities register. */
const PORT_TYPES: Readonly<Record<number, ExpressPortType>> = {
  0: 'endpoint',
  1: 'legacy-endpoint',
  4: 'root-port',
  5: 'upstream-port',
  6: 'downstream-port',
  7: 'pcie-to-pci-bridge',
  8: 'pci-to-pcie-bridge',
  9: 'root-complex-endpoint',
  10: 'root-complex-event-collector',
};

const CAPABILITIES = 0x02;
const DEVICE_CAPABILITIES = 0x04;
const DEVICE_CONTROL = 0x08;
const DEVICE_STATUS = 0x0a;
const LINK_CAPABILITIES = 0x0c;
const LINK_STATUS = 0x12;
const DEVICE_CAPABILITIES_2 = 0x24;
const DEVICE_CONTROL_2 = 0x28;
/** The end of the part of configuration space that holds standard capabilities. */
const STANDARD_END = 0x100;

const FUNCTION_LEVEL_RESET = 1 << 28;
const RELAXED_ORDERING = 1 << 4;
const NO_SNOOP = 1 << 11;
const TIMEOUT_DISABLE = 1 << 4;

/** Bits of the device status register. Writing 1 clears the first four. */
export const EXPRESS_STATUS = {
  correctableError: 1 << 0,
  nonFatalError: 1 << 1,
  fatalError: 1 << 2,
  unsupportedRequest: 1 << 3,
  auxiliaryPower: 1 << 4,
  transactionsPending: 1 << 5,
} as const;

/** In gigatransfers per second. The index is the number in the link registers. */
const SPEEDS = [0, 2.5, 5, 8, 16, 32, 64] as const;

/** Speed and width of a link. */
export interface Link {
  /** Gigatransfers per second: 2.5, 5, 8, 16, 32, 64; 0 if unknown. */
  readonly speed: number;
  /** Lanes; 0 if the link is down. */
  readonly width: number;
}

/** Microseconds, both ends inclusive (PCI Express 5.0, 7.5.3.16). */
export interface CompletionTimeout {
  readonly min: number;
  readonly max: number;
}

const TIMEOUTS: Readonly<Record<number, CompletionTimeout>> = {
  0: { min: 50, max: 50_000 },
  1: { min: 50, max: 100 },
  2: { min: 1_000, max: 10_000 },
  5: { min: 16_000, max: 55_000 },
  6: { min: 65_000, max: 210_000 },
  9: { min: 260_000, max: 900_000 },
  10: { min: 1_000_000, max: 3_500_000 },
  13: { min: 4_000_000, max: 13_000_000 },
  14: { min: 17_000_000, max: 64_000_000 },
};

/** The PCI Express capability of a function. */
export class ExpressCapability extends CapabilityRegisters {
  /** The size of version 1 in bytes, up to the end of the registers that every function has. */
  static readonly bytes = 20;

  /** Version of the capability: 1 or 2. */
  get version(): number {
    return this.read16(CAPABILITIES) & 0xf;
  }

  /** What kind of device or port the function is. */
  get portType(): ExpressPortType {
    return PORT_TYPES[(this.read16(CAPABILITIES) >>> 4) & 0xf] ?? 'reserved';
  }

  /** The largest payload that it can take in one packet, bytes. */
  get maxPayloadSupported(): number {
    return 128 << (this.read32(DEVICE_CAPABILITIES) & 7);
  }

  /** True if the function can be reset alone. */
  get functionLevelReset(): boolean {
    return this.has32(DEVICE_CAPABILITIES, FUNCTION_LEVEL_RESET);
  }

  /** The largest payload that it may send in one packet, bytes. */
  get maxPayload(): number {
    return 128 << ((this.read16(DEVICE_CONTROL) >>> 5) & 7);
  }

  /** The most bytes that it may ask for in one read request. */
  get maxReadRequest(): number {
    return 128 << ((this.read16(DEVICE_CONTROL) >>> 12) & 7);
  }

  /** True if the function may allow other packets to pass its requests. */
  get relaxedOrdering(): boolean {
    return this.has16(DEVICE_CONTROL, RELAXED_ORDERING);
  }

  /** True if the function may mark its requests so that they are not looked up in the CPU's caches. */
  get noSnoop(): boolean {
    return this.has16(DEVICE_CONTROL, NO_SNOOP);
  }

  /** EXPRESS_STATUS bits. */
  get deviceStatus(): number {
    return this.read16(DEVICE_STATUS);
  }

  /** Clear error bits of the device status that are set. */
  clearDeviceStatus(bits: number): void {
    this.write16(DEVICE_STATUS, bits);
  }

  /** True if requests of the function are unanswered. */
  get transactionsPending(): boolean {
    return this.has16(DEVICE_STATUS, EXPRESS_STATUS.transactionsPending);
  }

  /** The fastest and widest link that the function can have. */
  get linkCapabilities(): Link {
    return link(this.read32(LINK_CAPABILITIES));
  }

  /** The link as it is now. */
  get linkStatus(): Link {
    return link(this.read16(LINK_STATUS));
  }

  /** How long the function now waits for an answer; undefined for a capability of version 1, which does not tell. */
  get completionTimeout(): CompletionTimeout | undefined {
    return !this.#hasSecond ? undefined : TIMEOUTS[this.read16(DEVICE_CONTROL_2) & 0xf];
  }

  /** True if the timeout is off: the function then waits for a lost answer for ever. */
  get completionTimeoutDisabled(): boolean {
    return this.#hasSecond && this.has16(DEVICE_CONTROL_2, TIMEOUT_DISABLE);
  }

  /** The ranges A to D that the timeout can be set to, as bits 0 to 3; 0 if it cannot be set. */
  get completionTimeoutRanges(): number {
    return !this.#hasSecond ? 0 : this.read32(DEVICE_CAPABILITIES_2) & 0xf;
  }

  /**
   * True if the capability has the second set of registers. Version 1 lacks it, and the end of the space may cut it
   * off.
   */
  get #hasSecond(): boolean {
    return this.version >= 2 && this.offset + DEVICE_CONTROL_2 + 2 <= STANDARD_END;
  }
}

function link(register: number): Link {
  return { speed: SPEEDS[register & 0xf] ?? 0, width: (register >>> 4) & 0x3f };
}
