/** Memory of the JavaScript heap's ArrayBuffers, for simulated devices. It works on any OS, without the addon. */

import { checkArrayLength, checkSize } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { checkPageSize } from '../page-size.ts';
import { detachHeapBuffer, newHeapBuffer } from './heap-buffer.ts';
import type { Coherence, MemorySource } from './source.ts';

export interface HeapMemoryOptions {
  /** Bytes, a power of two. Default 4096. */
  readonly pageSize?: number;
  /** The number of bytes that may be allocated at once, counted in whole pages; ENOMEM beyond. Default: no limit. */
  readonly limit?: number;
}

/** A live allocation. */
interface Live {
  /** The bytes that count against the limit. */
  readonly charge: number;
  readonly coherence: Coherence;
}

/** Memory of the JavaScript heap, for simulated devices. */
export class HeapMemory implements MemorySource {
  readonly name = 'heap';
  readonly pageSize: number;
  readonly #limit: number;
  readonly #live = new Map<ArrayBuffer, Live>();
  #used = 0;
  #closed = false;

  /** @throws DmaError EINVAL if `pageSize` is not a power of two, or `limit` is not a size */
  constructor({ pageSize = 4096, limit = Number.MAX_SAFE_INTEGER }: HeapMemoryOptions = {}) {
    checkSize(limit, 'the memory limit');
    checkPageSize(pageSize);
    this.pageSize = pageSize;
    this.#limit = limit;
  }

  /** Bytes charged against the limit, in whole pages. */
  get used(): number {
    return this.#used;
  }

  /** The coherence that the caller of `allocate` asked for; undefined for any other buffer. */
  coherenceOf(buffer: ArrayBufferLike): Coherence | undefined {
    return this.#live.get(buffer as ArrayBuffer)?.coherence;
  }

  allocate(size: number, coherence: Coherence = 'coherent'): ArrayBuffer {
    if (this.#closed)
      throw new DmaError('ENODEV', 'the memory is closed', { remedy: 'open the device again' });
    checkSize(size, 'the size of an allocation');
    checkArrayLength(size);
    const charge = Math.ceil(size / this.pageSize) * this.pageSize;
    if (this.#used + charge > this.#limit) {
      throw new DmaError(
        'ENOMEM',
        `${size} bytes wanted, ${this.#limit - this.#used} of ${this.#limit} left`,
        {
          remedy: 'free something or raise the memory limit of the simulation',
        },
      );
    }
    const buffer = newBuffer(size);
    this.#live.set(buffer, { charge, coherence });
    this.#used += charge;
    return buffer;
  }

  free(buffer: ArrayBuffer): void {
    const live = this.#live.get(buffer);
    if (live === undefined) {
      throw new DmaError('EINVAL', 'not a live allocation of this memory', {
        remedy: 'free it once, where it came from',
      });
    }
    this.#live.delete(buffer);
    // The buffer was detached before: the program transferred the bytes. They count until close, as quarantined
    // memory does.
    if (buffer.byteLength === 0) return;
    this.#used -= live.charge;
    detachHeapBuffer(buffer);
  }

  close(): void {
    this.#closed = true;
    for (const buffer of this.#live.keys()) detachHeapBuffer(buffer);
    this.#live.clear();
    this.#used = 0;
  }
}

function newBuffer(size: number): ArrayBuffer {
  try {
    return newHeapBuffer(size);
  } catch (cause) {
    throw new DmaError('ENOMEM', `an ArrayBuffer of ${size} bytes cannot be made`, {
      remedy: 'ask for less at once',
      cause,
    });
  }
}
