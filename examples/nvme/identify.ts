/**
 * The descriptions that a controller and its namespaces give of themselves (NVM Express Base 2.0, 5.17.2; NVM Command
 * Set 1.0, 4.1.5).
 */
import type { SglSupport } from './sgl.ts';

export const IDENTIFY_BYTES = 4096;

/** Identify Controller (CNS 01h): the parts that a driver and its user need. */
export interface ControllerIdentity {
  readonly vendorId: number;
  readonly serial: string;
  readonly model: string;
  readonly firmware: string;
  readonly controllerId: number;
  /** `1.4.0`. */
  readonly version: string;
  /** The most smallest-size memory pages that one command may transfer, as a power of two; 0: no limit (MDTS). */
  readonly maxTransferExponent: number;
  /** Milliseconds that a shutdown may take (RTD3E); 0 if the controller does not tell. */
  readonly shutdownTime: number;
  /** The number of Abort commands at once (ACL + 1). */
  readonly aborts: number;
  /** Entries of the error log (ELPE + 1). */
  readonly errorEntries: number;
  /** Highest namespace identifier (NN). */
  readonly namespaces: number;
  /** True if it has Dataset Management and Write Zeroes (ONCS). */
  readonly datasetManagement: boolean;
  readonly writeZeroes: boolean;
  /** True if a loss of power may lose writes until they are flushed (VWC). */
  readonly volatileWriteCache: boolean;
  readonly sgl: SglSupport;
}

/** Identify Namespace (CNS 00h). */
export interface NamespaceIdentity {
  /** Blocks (NSZE). */
  readonly blocks: number;
  /** Blocks in use (NUSE). */
  readonly usedBlocks: number;
  /** Bytes of a block. */
  readonly blockSize: number;
  /** Bytes of metadata of each block. */
  readonly metadataSize: number;
  /** EUI64 as hexadecimal digits; undefined if it has none. */
  readonly eui64: string | undefined;
}

const DATASET_MANAGEMENT = 1 << 2;
const WRITE_ZEROES = 1 << 3;

export function parseController(bytes: Buffer): ControllerIdentity {
  const optional = bytes.readUInt16LE(520);
  const version = bytes.readUInt32LE(80);
  return {
    vendorId: bytes.readUInt16LE(0),
    serial: text(bytes, 4, 20),
    model: text(bytes, 24, 40),
    firmware: text(bytes, 64, 8),
    controllerId: bytes.readUInt16LE(78),
    version: `${version >>> 16}.${(version >>> 8) & 0xff}.${version & 0xff}`,
    maxTransferExponent: bytes.readUInt8(77),
    shutdownTime: Math.ceil(bytes.readUInt32LE(88) / 1000),
    aborts: bytes.readUInt8(258) + 1,
    errorEntries: bytes.readUInt8(262) + 1,
    namespaces: bytes.readUInt32LE(516),
    datasetManagement: (optional & DATASET_MANAGEMENT) !== 0,
    writeZeroes: (optional & WRITE_ZEROES) !== 0,
    volatileWriteCache: (bytes.readUInt8(525) & 1) !== 0,
    sgl: sglSupport(bytes.readUInt32LE(536)),
  };
}

export function parseNamespace(bytes: Buffer): NamespaceIdentity {
  const format = bytes.readUInt32LE(128 + 4 * formatIndex(bytes));
  const eui64 = bytes.subarray(120, 128);
  return {
    blocks: Number(bytes.readBigUInt64LE(0)),
    usedBlocks: Number(bytes.readBigUInt64LE(16)),
    blockSize: 2 ** ((format >>> 16) & 0xff),
    metadataSize: format & 0xffff,
    eui64: eui64.every((byte) => byte === 0) ? undefined : eui64.toString('hex'),
  };
}

/** Active Namespace ID list (CNS 02h): ascending, ended by 0. */
export function parseNamespaceList(bytes: Buffer): number[] {
  const ids = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32LE(i * 4));
  const end = ids.indexOf(0);
  return end < 0 ? ids : ids.slice(0, end);
}

/** FLBAS: bits 3:0. With more than 16 formats, bits 6:5 are placed above them. */
function formatIndex(bytes: Buffer): number {
  const formatted = bytes.readUInt8(26);
  const formats = bytes.readUInt8(25) + 1;
  return (formatted & 0xf) | (formats > 16 ? ((formatted >>> 5) & 3) << 4 : 0);
}

/** SGLS bits 1:0 (Base 2.0, figure 275). */
function sglSupport(bits: number): SglSupport {
  if ((bits & 3) === 1) return 'bytes';
  return (bits & 3) === 2 ? 'dwords' : 'none';
}

/** ASCII, padded by spaces. */
function text(bytes: Buffer, at: number, length: number): string {
  return bytes
    .toString('latin1', at, at + length)
    .replaceAll('\0', ' ')
    .trimEnd();
}
