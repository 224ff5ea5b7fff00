/**
 * Registers and descriptors of Intel's 82574, as far as the driver and the model use them (Intel 82574 GbE Controller
 * Family Datasheet, revision 3.4: chapter 10 "Driver Programing Interface" for registers, chapter 7 "Inline
 * Functions" for descriptors). BAR 0, 32 bits each.
 */
import { struct, u16, u32, u64 } from '../../lib/index.ts';

/** Intel's vendor id. */
export const INTEL = 0x8086;
/** 82574L; the kernel's driver for it, and QEMU's model of it, are called e1000e. */
export const E1000E_DEVICE = 0x10d3;

export const REGISTER = {
  /** Device control, CTRL. */
  control: 0x0000,
  status: 0x0008,
  /** EECD. */
  eepromControl: 0x0010,
  /** EEPROM read, EERD. */
  eepromRead: 0x0014,
  /** CTRL_EXT. */
  controlExtended: 0x0018,
  /** ICR: causes; a written 1 clears. */
  interruptCause: 0x00c0,
  /** ICS: a written 1 sets a cause. */
  interruptCauseSet: 0x00c8,
  /** IMS: writing 1 lets a cause interrupt; IMC: writing 1 masks it. */
  interruptMaskSet: 0x00d0,
  interruptMaskClear: 0x00d8,
  /** EIAC: causes that clear, and mask, themselves when their message is sent. */
  interruptAutoClear: 0x00dc,
  /** IVAR: the MSI-X vector of each cause. */
  interruptVectors: 0x00e4,
  /** RCTL, TCTL. */
  receiveControl: 0x0100,
  transmitControl: 0x0400,
  /** Queue 0: RDBAL, RDBAH, RDLEN, RDH, RDT, RXDCTL. */
  receiveBaseLow: 0x2800,
  receiveBaseHigh: 0x2804,
  receiveBytes: 0x2808,
  receiveHead: 0x2810,
  receiveTail: 0x2818,
  /** Queue 0: TDBAL, TDBAH, TDLEN, TDH, TDT. */
  transmitBaseLow: 0x3800,
  transmitBaseHigh: 0x3804,
  transmitBytes: 0x3808,
  transmitHead: 0x3810,
  transmitTail: 0x3818,
  /** RAL, RAH: the first address that is received. */
  addressLow: 0x5400,
  addressHigh: 0x5404,
} as const;

/** Statistics. Reading a counter clears it; for one of 64 bits, reading the upper half does. */
export const COUNTER = {
  /** CRCERRS, MPC, RNBC, RUC, ROC. */
  crcErrors: 0x4000,
  missed: 0x4010,
  noBuffer: 0x40a0,
  tooShort: 0x40a4,
  tooLong: 0x40ac,
  /** TOR, TOT: octets, with their CRC. */
  octetsReceived: 0x40c0,
  octetsSent: 0x40c8,
  /** TPR, TPT. */
  packetsReceived: 0x40d0,
  packetsSent: 0x40d4,
} as const;

export const CONTROL = {
  fullDuplex: 1 << 0,
  /** GIO master disable: the device begins no DMA. STATUS tells when the last one has ended. */
  masterDisable: 1 << 2,
  setLinkUp: 1 << 6,
  speed1000: 2 << 8,
  forceSpeed: 1 << 11,
  forceDuplex: 1 << 12,
  reset: 1 << 26,
} as const;

export const CONTROL_EXTENDED = {
  /** RO_DIS: the device's writes to memory arrive in their order. */
  relaxedOrderingDisable: 1 << 17,
  driverLoaded: 1 << 28,
  /** PBA_CLR: unmasking a cause clears the pending bit of its vector. */
  clearPending: (1 << 31) >>> 0,
} as const;

export const STATUS = { fullDuplex: 1 << 0, linkUp: 1 << 1, speed: 3 << 6, masterEnabled: 1 << 19 } as const;

/** EECD: the device has read the values that it reads by itself after a reset. */
export const EEPROM_CONTROL = { autoReadDone: 1 << 9 } as const;

export const EEPROM = { start: 1 << 0, done: 1 << 1, addressShift: 2, dataShift: 16 } as const;

/** Causes of interrupts that have a vector of their own with MSI-X; ICR, ICS, IMS, IMC and EIAC. */
export const CAUSE = { receive: 1 << 20, transmit: 1 << 22, other: 1 << 24 } as const;

/** IVAR: four bits for each cause. The highest of them means that the cause has a vector. */
export const VECTOR = { receiveShift: 0, transmitShift: 8, otherShift: 16, valid: 1 << 3, mask: 7 } as const;

export const RECEIVE_CONTROL = {
  enable: 1 << 1,
  allUnicast: 1 << 3,
  allMulticast: 1 << 4,
  /** LBM. */
  macLoopback: 1 << 6,
  broadcast: 1 << 15,
  /** BSIZE 0, with BSEX 0: buffers of 2,048 bytes. */
  stripCrc: 1 << 26,
} as const;

export const TRANSMIT_CONTROL = {
  enable: 1 << 1,
  /** PSP: short packets are padded with zeros. */
  padShort: 1 << 3,
  /** CT, COLD: for half duplex, values as the datasheet recommends. */
  collisionThreshold: 0x0f << 4,
  collisionDistance: 0x3f << 12,
} as const;

/** RAH: the address is valid. */
export const ADDRESS_VALID = (1 << 31) >>> 0;

/**
 * Legacy descriptors ("Legacy Receive Descriptor Format", "Legacy Transmit Descriptor Format"). The device writes
 * back at most two words, and not the address of the buffer. The whole family has had them since the 82540.
 */
export const ReceiveDescriptor = struct(16, {
  address: u64(0),
  length: u16(8),
  /** Status, errors and VLAN tag. */
  state: u32(12),
});

export const TransmitDescriptor = struct(16, {
  address: u64(0),
  /** Length, checksum offset and command. */
  command: u32(8),
  /** Status, checksum start and VLAN tag. */
  state: u32(12),
});

/**
 * The offsets in 32-bit words, for the few loops in which each nanosecond counts. Columns check each access, and V8
 * keeps one array in registers, but not four.
 */
export const DESCRIPTOR = {
  words: 4,
  addressLow: 0,
  addressHigh: 1,
  length: 2,
  command: 2,
  state: 3,
} as const;

/** In both kinds: the device is done with it. */
export const DONE = 1 << 0;
/** In a received one: it is the last descriptor of its packet. */
export const END_OF_PACKET = 1 << 1;
/** In a received one: CE, SE, SEQ, CXE, RXE. A packet that passes the filters has none of them. */
export const RECEIVE_ERRORS = 0x97 << 8;

/** The command bits of a sent packet: EOP, IFCS and RS. */
export const COMMAND = {
  endOfPacket: 1 << 24,
  insertCrc: 1 << 25,
  /** The device writes the descriptor back when it is done. */
  reportStatus: 1 << 27,
} as const;
