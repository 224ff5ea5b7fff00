/** Registers of the controller (NVM Express 1.4, 3.1). A driver may access a 64-bit one by halves. */
import type { QueueMemory } from './queues.ts';

export const REGISTER = {
  capabilities: 0x00,
  version: 0x08,
  interruptMaskSet: 0x0c,
  interruptMaskClear: 0x10,
  configuration: 0x14,
  status: 0x1c,
  adminQueueAttributes: 0x24,
  adminSubmissionQueue: 0x28,
  adminCompletionQueue: 0x30,
} as const;

/** The size of the registers in bytes. */
export const REGISTERS_SIZE = 0x38;
export const DOORBELLS = 0x1000;

/** CAP.MQES: the number of entries of the largest queue, minus one. */
export const LARGEST_QUEUE = 0x7ff;
/** CAP.MPSMAX: pages of up to 64 KiB. */
const LARGEST_PAGE = 4;
/** CAP.CSS: the NVM command set, I/O command sets by name, or none. */
const COMMAND_SETS = 0b1100_0001;
/** CAP.TO, units of 500 ms. */
const TIMEOUT = 0xf;

/** Queues must lie in one piece; pages of 4 to 64 KiB. */
export function capabilities(doorbellStride: number): { readonly low: number; readonly high: number } {
  return {
    low: (LARGEST_QUEUE | (1 << 16) | (TIMEOUT << 24)) >>> 0,
    high: doorbellStride | (COMMAND_SETS << 5) | (LARGEST_PAGE << 20),
  };
}

export const CSTS = { ready: 1, fatal: 2, shutdown: 3 << 2, shutdownComplete: 2 << 2 } as const;

/** Fields of CC. */
export function configuration(value: number) {
  return {
    enabled: (value & 1) !== 0,
    commandSet: (value >>> 4) & 7,
    /** Bytes of a memory page. */
    pageSize: 2 ** (12 + ((value >>> 7) & 0xf)),
    shutdown: ((value >>> 14) & 3) !== 0,
    submissionEntry: (value >>> 16) & 0xf,
    completionEntry: (value >>> 20) & 0xf,
  };
}

/** The reason why a controller cannot be enabled with these values; undefined if it can. */
export function refusal(
  cc: number,
  { submissions, completions }: { readonly submissions: QueueMemory; readonly completions: QueueMemory },
): string | undefined {
  const { commandSet, pageSize, submissionEntry, completionEntry } = configuration(cc);
  if (((COMMAND_SETS >> commandSet) & 1) === 0) return `CC.CSS ${commandSet} is no command set`;
  if (pageSize > 2 ** (12 + LARGEST_PAGE)) return `CC.MPS asks for pages of ${pageSize} bytes`;
  if (submissionEntry !== 6) return `CC.IOSQES is ${submissionEntry}, and entries have 2^6 bytes`;
  if (completionEntry !== 4) return `CC.IOCQES is ${completionEntry}, and entries have 2^4 bytes`;
  if (submissions.low % pageSize !== 0) return 'ASQ has an offset in its page';
  if (completions.low % pageSize !== 0) return 'ACQ has an offset in its page';
  if (submissions.entries < 2) return 'AQA.ASQS is 0';
  return completions.entries < 2 ? 'AQA.ACQS is 0' : undefined;
}
