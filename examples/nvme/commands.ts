/** Commands and completions as they lie in queues, and their opcodes (NVM Express Base 2.0, 3.3.3 and 5). */
import { struct, u32, u64 } from '../../lib/index.ts';

/** Submission queue entry (Base 2.0, figures 87 and 88). Two PRP entries, or one SGL descriptor over both. */
export const SubmissionEntry = struct(64, {
  /** Opcode, bits 15:14 how data is described (PSDT), bits 31:16 the command identifier. */
  head: u32(0),
  namespace: u32(4),
  prp1: u64(24),
  prp2: u64(32),
  dword10: u32(40),
  dword11: u32(44),
  dword12: u32(48),
  dword13: u32(52),
  dword14: u32(56),
  dword15: u32(60),
});

/** Completion queue entry (Base 2.0, figure 91). */
export const CompletionEntry = struct(16, {
  /** Command specific. */
  result: u32(0),
  /** Bits 15:0 the command identifier, 16 the phase, 31:17 the status. Written last, or all at once. */
  tail: u32(12),
});

export const ADMIN = {
  deleteSubmissionQueue: 0x00,
  createSubmissionQueue: 0x01,
  getLogPage: 0x02,
  deleteCompletionQueue: 0x04,
  createCompletionQueue: 0x05,
  identify: 0x06,
  abort: 0x08,
  setFeatures: 0x09,
  getFeatures: 0x0a,
} as const;

/** NVM Command Set 1.0, 3.2. */
export const IO = {
  flush: 0x00,
  write: 0x01,
  read: 0x02,
  writeZeroes: 0x08,
  datasetManagement: 0x09,
} as const;

/** CNS of Identify (Base 2.0, 5.17.1). */
export const IDENTIFY = { namespace: 0x00, controller: 0x01, activeNamespaces: 0x02 } as const;

/** Feature identifiers (Base 2.0, 5.27.1). */
export const FEATURE = { volatileWriteCache: 0x06, numberOfQueues: 0x07 } as const;

/** Log page identifiers (Base 2.0, 5.16.1). */
export const LOG = { errors: 0x01, health: 0x02 } as const;

/** The place of a command's data, as dwords 6 to 9 of its entry. `flags` are those of dword 0. */
export class DataPointer {
  /** PSDT: 0 PRPs, else SGL. */
  flags = 0;
  low1 = 0;
  high1 = 0;
  low2 = 0;
  high2 = 0;
}

export const NO_DATA: DataPointer = new DataPointer();

/** Any command; dwords that are not given are 0. */
export interface Command {
  readonly opcode: number;
  readonly namespace?: number;
  readonly data?: DataPointer;
  readonly dword10?: number;
  readonly dword11?: number;
  readonly dword12?: number;
  readonly dword13?: number;
  readonly dword14?: number;
  readonly dword15?: number;
}
