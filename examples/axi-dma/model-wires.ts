/** The connections of a channel of the modelled core, and its access to descriptors through them. */
import { DESCRIPTOR } from './registers.ts';

/**
 * The answers of the memory interconnect (AXI BRESP, RRESP): SLVERR comes from the memory, DECERR means that there is
 * no memory.
 */
export type Response = 'OKAY' | 'SLVERR' | 'DECERR';

/** The connections of a channel. */
export interface Wires {
  readonly scatterGather: boolean;
  readonly addressBits: number;
  readonly lengthBits: number;
  readonly alignment: number;
  /** The bandwidth of the path between memory and stream, in bytes per microsecond. */
  readonly bandwidth: number;
  read(address: bigint, into: Uint8Array): Response;
  write(address: bigint, from: Uint8Array): Response;
  after(microseconds: number, action: () => void): void;
  /** Reports a mistake of the driver for which the behaviour of hardware is undefined. */
  report(address: bigint, size: number, reason: string): void;
  /** The interrupt output may have changed. */
  updateInterrupt(): void;
  resetCore(): void;
}

/** A descriptor, as the core reads it. */
export interface Fetched {
  /** The response to the read. The other fields are valid only if it is OKAY. */
  readonly response: Response;
  readonly next: bigint;
  readonly address: bigint;
  readonly control: number;
  readonly status: number;
}

/** PG021, "Descriptor Fields". */
export function fetchDescriptor(wires: Wires, at: bigint): Fetched {
  const bytes = new Uint8Array(DESCRIPTOR.bytes);
  const response = wires.read(at, bytes);
  const words = new DataView(bytes.buffer);
  const word = (index: number): number => words.getUint32(4 * index, true);
  const pointer = (low: number, high: number): bigint =>
    cutAddress(wires, (BigInt(wires.addressBits > 32 ? high : 0) << 32n) | BigInt(low));
  return {
    response,
    next: pointer(alignPointer(wires, word(DESCRIPTOR.next)), word(DESCRIPTOR.nextHigh)),
    address: pointer(word(DESCRIPTOR.address), word(DESCRIPTOR.addressHigh)),
    control: word(DESCRIPTOR.control),
    status: word(DESCRIPTOR.status),
  };
}

/** Writes STATUS of a descriptor back. */
export function writeStatus(wires: Wires, at: bigint, status: number): Response {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, status >>> 0, true);
  return wires.write(at + 4n * BigInt(DESCRIPTOR.status), bytes);
}

/**
 * The lower half of a pointer to a descriptor. Descriptors are 64 bytes apart, so there are no wires for the low
 * bits.
 */
export function alignPointer(wires: Wires, low: number): number {
  const rest = low % DESCRIPTOR.bytes;
  if (rest !== 0) wires.report(BigInt(low), DESCRIPTOR.bytes, 'descriptor not aligned to 64 bytes');
  return low - rest;
}

export function cutAddress(wires: Wires, address: bigint): bigint {
  const cut = BigInt.asUintN(wires.addressBits, address);
  if (cut !== address) wires.report(address, 1, `address cut to 0x${cut.toString(16)}`);
  return cut;
}
