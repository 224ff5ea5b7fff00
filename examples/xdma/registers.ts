/**
 * Registers and descriptors of the DMA/Bridge Subsystem for PCI Express in DMA mode (XDMA), as PG195 has them.
 *
 *      bits 15:12 of an offset    the target: a block of registers
 *      bits 11:8                  the channel, 0 to 3
 *      bits 7:0                   the register
 */
import { struct, u32, u64 } from '../../lib/index.ts';

export const XILINX = 0x10ee;
/** A device id that the core has by default, for a link of 8 GT/s and 8 lanes. The block design may choose any other. */
export const XDMA_DEVICE = 0x9038;

/** Bytes of the BAR with these registers. */
export const REGISTER_BYTES = 0x1_0000;
export const MAX_CHANNELS = 4;
export const CHANNEL_STRIDE = 0x100;

/** Offsets of the targets. */
export const TARGET = {
  h2c: 0x0000,
  c2h: 0x1000,
  interrupts: 0x2000,
  config: 0x3000,
  h2cDescriptors: 0x4000,
  c2hDescriptors: 0x5000,
} as const;

/** Bits 31:16 of each target's first register: what it is, in bits 19:16 its number. */
export const IDENTIFIER = { h2c: 0x1fc0, c2h: 0x1fc1, interrupts: 0x1fc2, config: 0x1fc3 } as const;
/** In a channel's identifier: it is an AXI4-Stream, and no part of the card's memory. */
export const IS_STREAM = 1 << 15;

/** Of a channel; `Set` and `Clear` are registers that set or clear the bits written as 1. */
export const CHANNEL = {
  identifier: 0x00,
  control: 0x04,
  controlSet: 0x08,
  controlClear: 0x0c,
  status: 0x40,
  /** Reading it clears the status. */
  statusReadClear: 0x44,
  completedDescriptors: 0x48,
  alignments: 0x4c,
  pollLow: 0x88,
  pollHigh: 0x8c,
  interruptEnable: 0x90,
  interruptEnableSet: 0x94,
  interruptEnableClear: 0x98,
} as const;

/** Of a channel's descriptors. */
export const DESCRIPTORS = { low: 0x80, high: 0x84, adjacent: 0x88 } as const;

/** Of the interrupts. Channels are bits: those from host to card first, those from card to host after them. */
export const INTERRUPTS = {
  identifier: 0x00,
  userEnable: 0x04,
  userEnableSet: 0x08,
  userEnableClear: 0x0c,
  channelEnable: 0x10,
  channelEnableSet: 0x14,
  channelEnableClear: 0x18,
  userRequest: 0x40,
  channelRequest: 0x44,
  /** Vectors, four to a register, eight bits each. */
  userVectors: 0x80,
  channelVectors: 0xa0,
} as const;
export const USER_INTERRUPTS = 16;

/** The control register. The bits that STATUS has too decide whether such an event is noted in the status. */
export const CONTROL = { run: 1 << 0, pollWriteback: 1 << 26 } as const;

export const STATUS = {
  busy: 1 << 0,
  descriptorStopped: 1 << 1,
  descriptorCompleted: 1 << 2,
  alignMismatch: 1 << 3,
  magicStopped: 1 << 4,
  invalidLength: 1 << 5,
  idleStopped: 1 << 6,
  readErrors: 0x1f << 9,
  writeErrors: 0x1f << 14,
  descriptorErrors: 0x1f << 19,
} as const;

/** The device refused to go on. */
export const STATUS_ERRORS =
  STATUS.alignMismatch |
  STATUS.magicStopped |
  STATUS.invalidLength |
  STATUS.readErrors |
  STATUS.writeErrors |
  STATUS.descriptorErrors;

/** What an engine is to note, and to interrupt for. */
export const STATUS_NOTED = STATUS.descriptorStopped | STATUS_ERRORS;

/** The single errors: those of reads and writes are on the bus of the source and of the destination. */
export const ERROR_BIT = {
  hostReadRefused: 1 << 9,
  cardReadRefused: 1 << 9,
  cardWriteRefused: 1 << 14,
  descriptorReadRefused: 1 << 19,
} as const;

/** What the device writes to memory in poll mode: the number of descriptors it has completed, or an error. */
export const POLL = { count: 0x00ff_ffff, error: 0x8000_0000 } as const;

/** A descriptor. Those that lie side by side in one page of 4 KiB are fetched together. */
export const DESCRIPTOR_BYTES = 32;
export const DESCRIPTOR_PAGE = 4096;
/** The most that are fetched after the first. */
export const MAX_ADJACENT = 63;
export const Descriptor = struct(DESCRIPTOR_BYTES, {
  /** Bits 31:16 the magic number, 13:8 how many lie behind the next one, 7:0 flags. */
  control: u32(0x00),
  length: u32(0x04),
  source: u64(0x08),
  destination: u64(0x10),
  next: u64(0x18),
});
export const DESCRIPTOR_MAGIC = 0xad4b;
export const DESCRIPTOR_FLAG = { stop: 1 << 0, completed: 1 << 1 } as const;
/** Bits of the length. */
export const LENGTH_BITS = 28;
/** The word that the device writes in poll mode. */
export const PollWord = struct(4, { value: u32(0) });
