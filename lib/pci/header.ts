/**
 * The type 0 header of configuration space: the offsets of its registers, and their bits (PCI Local Bus 3.0, 6.1
 * and 6.2).
 */

/** Offsets. */
export const PCI_HEADER = {
  vendorId: 0x00,
  deviceId: 0x02,
  command: 0x04,
  status: 0x06,
  revisionId: 0x08,
  classCode: 0x09,
  cacheLineSize: 0x0c,
  latencyTimer: 0x0d,
  headerType: 0x0e,
  bist: 0x0f,
  /** Base address register 0; the others follow, 4 bytes each. */
  bar0: 0x10,
  subsystemVendorId: 0x2c,
  subsystemId: 0x2e,
  rom: 0x30,
  /** Offset of the first capability. */
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

/** The number of base address registers of a function. */
export const PCI_BARS = 6;

/** The lowest offset of a capability, in the first 256 bytes and behind them. */
export const FIRST_CAPABILITY = 0x40;
export const FIRST_EXTENDED_CAPABILITY = 0x100;

/** Bits of the command register. */
export const PCI_COMMAND = {
  io: 1 << 0,
  memory: 1 << 1,
  master: 1 << 2,
  parity: 1 << 6,
  serr: 1 << 8,
  intxDisable: 1 << 10,
} as const;

/** Bits of the status register. The error bits are those from `masterParityError` on; writing 1 clears them. */
export const PCI_STATUS = {
  immediateReadiness: 1 << 0,
  interrupt: 1 << 3,
  capabilities: 1 << 4,
  masterParityError: 1 << 8,
  signaledTargetAbort: 1 << 11,
  receivedTargetAbort: 1 << 12,
  receivedMasterAbort: 1 << 13,
  signaledSystemError: 1 << 14,
  parityError: 1 << 15,
} as const;

/** Bits of a base address register. */
export const PCI_BAR = { io: 1 << 0, is64Bit: 1 << 2, prefetchable: 1 << 3 } as const;

/** The bit of the header type register that tells that the device has other functions, too. */
export const MULTI_FUNCTION = 0x80;
