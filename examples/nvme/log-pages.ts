/** Log pages (NVM Express Base 2.0, 5.16.1). */

export const HEALTH_BYTES = 512;
export const ERROR_BYTES = 64;

/** SMART / Health Information (5.16.1.3). Counters are cut to 2^64. */
export interface HealthLog {
  /** Bits of the critical warning: spare, temperature, reliability, read-only, backup. */
  readonly criticalWarning: number;
  /** Degrees Celsius. */
  readonly temperature: number;
  /** Percent. */
  readonly availableSpare: number;
  readonly percentageUsed: number;
  /** Bytes, in units of 512,000. */
  readonly bytesRead: bigint;
  readonly bytesWritten: bigint;
  readonly readCommands: bigint;
  readonly writeCommands: bigint;
  readonly powerCycles: bigint;
  readonly powerOnHours: bigint;
  readonly unsafeShutdowns: bigint;
  readonly mediaErrors: bigint;
}

/** An entry of the error log (5.16.1.2). */
export interface ErrorEntry {
  readonly count: bigint;
  readonly queue: number;
  readonly command: number;
  /** The status as in the completion, without the phase. */
  readonly status: number;
  readonly lba: bigint;
  readonly namespace: number;
}

const ZERO_CELSIUS = 273;
const UNIT = 512_000n;

export function parseHealth(bytes: Buffer): HealthLog {
  const counter = (at: number): bigint => bytes.readBigUInt64LE(at);
  return {
    criticalWarning: bytes.readUInt8(0),
    temperature: bytes.readUInt16LE(1) - ZERO_CELSIUS,
    availableSpare: bytes.readUInt8(3),
    percentageUsed: bytes.readUInt8(5),
    bytesRead: counter(32) * UNIT,
    bytesWritten: counter(48) * UNIT,
    readCommands: counter(64),
    writeCommands: counter(80),
    powerCycles: counter(112),
    powerOnHours: counter(128),
    unsafeShutdowns: counter(144),
    mediaErrors: counter(160),
  };
}

/** The entries that were written, the newest first. */
export function parseErrors(bytes: Buffer): ErrorEntry[] {
  const entries = Array.from({ length: bytes.length / ERROR_BYTES }, (_, i) => i * ERROR_BYTES);
  return entries
    .map((at) => ({
      count: bytes.readBigUInt64LE(at),
      queue: bytes.readUInt16LE(at + 8),
      command: bytes.readUInt16LE(at + 10),
      status: bytes.readUInt16LE(at + 12) >>> 1,
      lba: bytes.readBigUInt64LE(at + 16),
      namespace: bytes.readUInt32LE(at + 24),
    }))
    .filter(({ count }) => count !== 0n);
}
