/**
 * The cache of a simulated CPU, in front of memory that a device reaches without seeing the cache.
 *
 *      CPU     <-->  the ArrayBuffer     the contents of the cache; a typed array never shows anything else
 *                    `memory`            the bytes that the device reads and writes
 *                    `clean`             each line at the time it was last read from memory or written back
 *
 * A line is dirty if its bytes differ from `clean`. As on arm64 (arch/arm64/mm/cache.S), cleaning writes whole dirty
 * lines to memory. Invalidating drops lines, but first cleans those that the range covers only in part. So bytes that
 * share a line with a device's buffer get lost, or they overwrite the bytes that the device wrote, as on hardware. A
 * real cache also writes back and reads ahead on its own. This one never does. A driver may not rely on that, but it
 * makes every forgotten sync visible.
 */
import { checkArrayLength } from '../arguments.ts';
import type { CacheMaintenance } from '../cache.ts';
import type { DmaDirection } from '../direction.ts';
import type { Coherence } from '../memory/source.ts';
import { checkPageSize } from '../page-size.ts';

/** The contents of memory before the first write-back. A test can take it neither for data nor for zeros. */
const POISON = 0xdb;

export interface SimulatedCacheOptions {
  /** Bytes, a power of two. Default 64. */
  readonly lineSize?: number;
  /** The cache ignores buffers that were allocated as 'coherent'. */
  readonly coherenceOf: (buffer: ArrayBufferLike) => Coherence | undefined;
  /** The offset of a buffer's start in its page, and so in its line. */
  readonly pageOffset: (buffer: ArrayBufferLike) => number;
}

/** A cached buffer, all three of the same length. */
interface Cached {
  /** Empty after the buffer was detached, so that nothing more happens to it. */
  readonly cpu: Buffer;
  readonly memory: Uint8Array;
  readonly clean: Uint8Array;
  /** The number of bytes between the start of the first line and the first byte of the buffer. */
  readonly lead: number;
}

/** CPU caches that a simulated device does not see. */
export class SimulatedCache implements CacheMaintenance {
  readonly lineSize: number;
  readonly #coherenceOf: (buffer: ArrayBufferLike) => Coherence | undefined;
  readonly #pageOffset: (buffer: ArrayBufferLike) => number;
  readonly #cached = new WeakMap<ArrayBufferLike, Cached>();

  /** @throws DmaError EINVAL line size */
  constructor({ lineSize = 64, coherenceOf, pageOffset }: SimulatedCacheOptions) {
    checkPageSize(lineSize, 'the cache line size');
    this.lineSize = lineSize;
    this.#coherenceOf = coherenceOf;
    this.#pageOffset = pageOffset;
  }

  /**
   * The device's view of bytes [offset, offset + size) of a buffer.
   * @throws DmaError ENOMEM too long to be cached
   */
  deviceView(buffer: ArrayBufferLike, offset: number, size: number): Uint8Array {
    const cached = this.#find(buffer);
    if (cached === undefined) return new Uint8Array(buffer, offset, size);
    return cached.memory.subarray(offset, offset + size);
  }

  syncForDevice(buffer: ArrayBufferLike, offset: number, size: number): void {
    const cached = this.#find(buffer);
    if (cached !== undefined) this.#clean(cached, offset, offset + size);
  }

  syncForCpu(buffer: ArrayBufferLike, offset: number, size: number, direction: DmaDirection): void {
    if (direction === 'to-device') return;
    const cached = this.#find(buffer);
    if (cached === undefined) return;
    const start = this.#lineStart(cached, offset);
    const last = this.#lineStart(cached, offset + size - 1);
    if (start < offset) this.#clean(cached, offset, offset + 1);
    if (last + this.lineSize > offset + size) this.#clean(cached, offset + size - 1, offset + size);
    fill(cached, Math.max(start, 0), Math.min(last + this.lineSize, cached.cpu.length));
  }

  /** Undefined for memory that is not cached. */
  #find(buffer: ArrayBufferLike): Cached | undefined {
    const found = this.#cached.get(buffer);
    if (found !== undefined || this.#coherenceOf(buffer) === 'coherent') return found;
    checkArrayLength(buffer.byteLength);
    const cached: Cached = {
      cpu: Buffer.from(buffer),
      memory: new Uint8Array(buffer.byteLength).fill(POISON),
      clean: new Uint8Array(buffer.byteLength).fill(POISON),
      lead: this.#pageOffset(buffer) % this.lineSize,
    };
    this.#cached.set(buffer, cached);
    return cached;
  }

  /** The offset of the line that holds byte `offset`. It is below 0 if the line starts before the buffer. */
  #lineStart({ lead }: Cached, offset: number): number {
    return offset - ((lead + offset) % this.lineSize);
  }

  /** Write back the dirty lines among those that hold bytes [from, to). */
  #clean(cached: Cached, from: number, to: number): void {
    const length = cached.cpu.length;
    const end = Math.min(this.#lineStart(cached, to - 1) + this.lineSize, length);
    let start = Math.max(this.#lineStart(cached, from), 0);
    if (length === 0 || isClean(cached, start, end)) return;
    // Consecutive dirty lines are written together.
    for (let line = start; line < end; ) {
      const next = Math.min(this.#lineStart(cached, line) + this.lineSize, end);
      if (isLineClean(cached, line, next)) {
        writeBack(cached, start, line);
        start = next;
      }
      line = next;
    }
    writeBack(cached, start, end);
  }
}

function isClean({ cpu, clean }: Cached, start: number, end: number): boolean {
  return cpu.compare(clean, start, end, start, end) === 0;
}

/** As `isClean`, but byte by byte: it is faster if one of the first bytes differs. */
function isLineClean({ cpu, clean }: Cached, start: number, end: number): boolean {
  let at = start;
  while (at < end && cpu[at] === clean[at]) at++;
  return at === end;
}

function writeBack({ cpu, memory, clean }: Cached, start: number, end: number): void {
  if (start === end) return;
  const bytes = cpu.subarray(start, end);
  memory.set(bytes, start);
  clean.set(bytes, start);
}

function fill({ cpu, memory, clean }: Cached, start: number, end: number): void {
  if (start >= end) return;
  const bytes = memory.subarray(start, end);
  cpu.set(bytes, start);
  clean.set(bytes, start);
}
