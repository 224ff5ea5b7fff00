/** Controller properties in BAR 0 (NVM Express Base 2.0, 3.1.3; Base 1.4c, 3.1), and the places of the doorbells. */
import type { Bar } from '../../lib/index.ts';

export const REGISTER = {
  capabilities: 0x00,
  version: 0x08,
  configuration: 0x14,
  status: 0x1c,
  adminQueueAttributes: 0x24,
  adminSubmissionQueue: 0x28,
  adminCompletionQueue: 0x30,
} as const;

/** CC (3.1.3.5). */
export const CONFIGURATION = {
  enable: 1,
  /** Entries of 2^6 and 2^4 bytes, round robin, the NVM command set. */
  entrySizes: (6 << 16) | (4 << 20),
  pageSizeShift: 7,
  shutdownMask: 3 << 14,
  normalShutdown: 1 << 14,
} as const;

/** CSTS (3.1.3.6). */
export const STATUS = {
  ready: 1,
  fatal: 2,
  shutdownMask: 3 << 2,
  shutdownComplete: 2 << 2,
} as const;

/** CAP (3.1.3.1): the parts that a driver needs. */
export interface Capabilities {
  /** Entries of the longest queue (MQES + 1). */
  readonly maxEntries: number;
  /** Bytes from one doorbell to the next (DSTRD). */
  readonly doorbellStride: number;
  /** Milliseconds that enabling and disabling may take: TO plus one unit, as the kernel's driver gives. */
  readonly timeout: number;
  /** True if it supports the NVM command set (CSS). */
  readonly nvm: boolean;
  /** The smallest and the largest memory page that can be set, in bytes (MPSMIN, MPSMAX). */
  readonly minPageSize: number;
  readonly maxPageSize: number;
}

export function readCapabilities(registers: Bar): Capabilities {
  const low = registers.read32(REGISTER.capabilities);
  const high = registers.read32(REGISTER.capabilities + 4);
  return {
    maxEntries: (low & 0xffff) + 1,
    timeout: ((low >>> 24) + 1) * 500,
    doorbellStride: 4 << (high & 0xf),
    nvm: (high & (1 << 5)) !== 0,
    minPageSize: 2 ** (12 + ((high >>> 16) & 0xf)),
    maxPageSize: 2 ** (12 + ((high >>> 20) & 0xf)),
  };
}

/** Offset of the tail doorbell of a submission queue (PCIe Transport 1.0, 3.1.2.1). */
export function tailDoorbell(queue: number, stride: number): number {
  return 0x1000 + 2 * queue * stride;
}

/** Offset of the head doorbell of a completion queue (PCIe Transport 1.0, 3.1.2.2). */
export function headDoorbell(queue: number, stride: number): number {
  return 0x1000 + (2 * queue + 1) * stride;
}
