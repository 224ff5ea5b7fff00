/** Requests and responses as test/oracle/module/oracle.h has them. */

/** What a request asks for (enum operation). */
export const OP = {
  setMask: 1,
  setCoherentMask: 2,
  setLimits: 3,
  readLimits: 4,
  fill: 5,
  hash: 6,
  map: 7,
  unmap: 8,
  syncForCpu: 9,
  syncForDevice: 10,
  mapList: 11,
  unmapList: 12,
  syncListForCpu: 13,
  syncListForDevice: 14,
  deviceWrite: 15,
  deviceHash: 16,
  alloc: 17,
  free: 18,
  poolCreate: 19,
  poolDestroy: 20,
  poolAlloc: 21,
  poolFree: 22,
  mapResource: 23,
  unmapResource: 24,
  reach: 25,
  iovaAlloc: 26,
  iovaLink: 27,
  iovaSync: 28,
  iovaUnlink: 29,
  iovaFree: 30,
  iovaDestroy: 31,
} as const;

export type Operation = keyof typeof OP;

/** The buffers that mappings are made of, and their bytes. */
export const BUFFERS = 8;
export const BUFFER_SIZE = 512 * 1024;

/** Bytes of the registers of edu. */
export const BAR_SIZE = 2 ** 20;

/** enum dma_data_direction. */
export const DIRECTIONS = ['bidirectional', 'to-device', 'from-device'] as const;

/** How memory is allocated: `arg` of alloc. */
export const ALLOCATORS = ['coherent', 'noncoherent', 'pages'] as const;

/** A part of a buffer, as an element of a list. */
export interface Part {
  readonly buffer: number;
  readonly offset: number;
  readonly size: number;
}

/** One request. Members that an operation does not use are 0. */
export interface Request {
  readonly op: Operation;
  /** The mapping, list, memory or pool. */
  readonly slot?: number;
  /** The buffer; of poolAlloc and poolFree the block. */
  readonly buffer?: number;
  /** Of poolCreate the alignment, of setLimits the minimum alignment mask. */
  readonly offset?: number;
  /** Of setLimits the longest segment. */
  readonly size?: number;
  readonly dir?: number;
  readonly attrs?: number;
  /** map: by page. unmap and sync: although the mapping has ended. alloc: the allocator. poolAlloc: zeroed. */
  readonly arg?: number;
  /** Mask, boundary, the seed of bytes, or where iovaLink links. */
  readonly value?: bigint;
  /** Elements of mapList. */
  readonly parts?: readonly Part[];
}

export interface Segment {
  readonly address: bigint;
  readonly size: number;
}

export interface Response {
  /** 0, or a negative errno. */
  readonly error: number;
  /**
   * map, mapResource: address, needs sync. iovaAlloc: address. reach: offset in the BAR. alloc, poolAlloc: address, all
   * bytes were 0. readLimits: required mask, longest mapping, optimal mapping, merge boundary. hash, deviceHash: the hash.
   */
  readonly values: readonly bigint[];
  /** Segments of mapList. */
  readonly segments: readonly Segment[];
}

/** An answer without segments. */
export function answer(...values: (bigint | boolean)[]): Response {
  return { error: 0, values: values.map(BigInt), segments: [] };
}

/** The answer that it cannot be done. @param error a negative errno */
export function refusal(error: number): Response {
  return { error, values: [], segments: [] };
}

const REQUEST_SIZE = 48;
const ELEMENT_SIZE = 16;
const RESPONSE_SIZE = 40;
const SEGMENT_SIZE = 16;

export function encode(requests: readonly Request[]): Buffer {
  const size = requests.reduce((sum, { parts = [] }) => sum + REQUEST_SIZE + parts.length * ELEMENT_SIZE, 0);
  const bytes = Buffer.alloc(size);
  let at = 0;
  const word = (value: number) => {
    at = bytes.writeUInt32LE(value, at);
  };
  for (const request of requests) {
    const { slot = 0, buffer = 0, offset = 0, size = 0, dir = 0, attrs = 0, arg = 0, parts = [] } = request;
    for (const value of [OP[request.op], slot, buffer, offset, size, dir, attrs, arg]) word(value);
    at = bytes.writeBigUInt64LE(request.value ?? 0n, at);
    word(parts.length);
    word(0);
    for (const part of parts) for (const value of [part.buffer, part.offset, part.size, 0]) word(value);
  }
  return bytes;
}

/** The most bytes that so many requests are answered with. */
export function mostBytes(requests: readonly Request[]): number {
  return requests.reduce((sum, { parts = [] }) => sum + RESPONSE_SIZE + parts.length * SEGMENT_SIZE, 0);
}

export function decode(bytes: Buffer): Response[] {
  const responses: Response[] = [];
  for (let at = 0; at < bytes.length; ) {
    const error = bytes.readInt32LE(at);
    const count = bytes.readUInt32LE(at + 4);
    const values = [0, 1, 2, 3].map((index) => bytes.readBigUInt64LE(at + 8 + index * 8));
    at += RESPONSE_SIZE;
    const segments: Segment[] = [];
    for (let i = 0; i < count; i++, at += SEGMENT_SIZE) {
      segments.push({ address: bytes.readBigUInt64LE(at), size: Number(bytes.readBigUInt64LE(at + 8)) });
    }
    responses.push({ error, values, segments });
  }
  return responses;
}
