/**
 * Registers and descriptors of the AXI DMA (PG021, "AXI DMA Register Address Map" and "Scatter Gather Descriptor").
 * Both channels have the same registers: MM2S (memory to stream) from 0x00, S2MM (stream to memory) from 0x30.
 *
 *            direct register mode                 scatter-gather mode
 *      0x00  DMACR    control                     DMACR
 *      0x04  DMASR    status                      DMASR
 *      0x08                                       CURDESC, and its upper half at 0x0c
 *      0x10                                       TAILDESC, and its upper half at 0x14: writing it starts the channel
 *      0x18  SA / DA  and its upper half at 0x1c
 *      0x28  LENGTH   writing it starts the channel
 */

/** The offsets at which the registers of the channels start. */
export const CHANNEL = { mm2s: 0x00, s2mm: 0x30 } as const;

/** The bytes that the registers of both channels take. */
export const REGISTER_SPAN = 0x60;

/** Offsets from the start of a channel. */
export const REGISTER = {
  control: 0x00,
  status: 0x04,
  currentDescriptor: 0x08,
  currentDescriptorHigh: 0x0c,
  tailDescriptor: 0x10,
  tailDescriptorHigh: 0x14,
  address: 0x18,
  addressHigh: 0x1c,
  length: 0x28,
} as const;

/** DMACR (PG021, "MM2S_DMACR", "S2MM_DMACR"). */
export const CONTROL = {
  run: 1 << 0,
  /** Always reads 1. */
  reserved: 1 << 1,
  /** Resets the whole core, even if only one channel is written. Reads 1 until the reset is done. */
  reset: 1 << 2,
  completeInterrupt: 1 << 12,
  delayInterrupt: 1 << 13,
  errorInterrupt: 1 << 14,
  /** IRQThreshold, 8 bits: packets until an interrupt, at least 1. */
  thresholdShift: 16,
  /** IRQDelay, 8 bits: units of 125 clocks without a packet until an interrupt; 0: never. */
  delayShift: 24,
} as const;

/** DMASR (PG021, "MM2S_DMASR", "S2MM_DMASR"). */
export const STATUS = {
  halted: 1 << 0,
  idle: 1 << 1,
  scatterGather: 1 << 3,
  /** Errors stay until a reset. */
  errors: {
    DMAIntErr: 1 << 4,
    DMASlvErr: 1 << 5,
    DMADecErr: 1 << 6,
    SGIntErr: 1 << 8,
    SGSlvErr: 1 << 9,
    SGDecErr: 1 << 10,
  },
  /** Writing 1 clears the three interrupts. */
  complete: 1 << 12,
  delay: 1 << 13,
  error: 1 << 14,
  interrupts: 7 << 12,
} as const;

export type ErrorName = keyof typeof STATUS.errors;

/** A descriptor: 64 bytes, aligned to 64; offsets in 32-bit words (PG021, "Descriptor Fields"). */
export const DESCRIPTOR = {
  bytes: 64,
  words: 16,
  next: 0,
  nextHigh: 1,
  address: 2,
  addressHigh: 3,
  control: 6,
  status: 7,
} as const;

/** CONTROL of a descriptor: flags of a packet that is sent, and the length of the buffer. */
export const DESCRIPTOR_CONTROL = { startOfFrame: 1 << 27, endOfFrame: 1 << 26 } as const;

/** STATUS of a descriptor. The two flags are set only for a received packet. */
export const DESCRIPTOR_STATUS = {
  complete: (1 << 31) >>> 0,
  errors: { DMADecErr: 1 << 30, DMASlvErr: 1 << 29, DMAIntErr: 1 << 28 },
  startOfFrame: 1 << 27,
  endOfFrame: 1 << 26,
} as const;

/** The widest length field, 26 bits: of CONTROL and STATUS of a descriptor, and of LENGTH. */
export const LENGTH_MASK = 2 ** 26 - 1;
