/**
 * Requests of a block device under way in one virtqueue (5.2.6). Each has a head that the device reads, and a byte of
 * status that it writes. Their memory belongs to the first descriptor of the chain. The caller's memory is mapped
 * between the two.
 */
import {
  type ArrayOf,
  type CoherentBuffer,
  type DmaDevice,
  DmaError,
  type SgMapping,
} from '../../lib/index.ts';
import { type Piece, VirtQueue } from './queue.ts';
import { REQUEST, RESULT, RequestHead, RequestStatus } from './registers.ts';

/** A request to the device. */
export interface Request {
  /** One of REQUEST. */
  readonly type: number;
  readonly sector: number;
  /** The memory that the device reads or writes; undefined for a flush. */
  readonly payload: ArrayBufferView | undefined;
}

/** A request that the device has. */
interface Pending {
  readonly request: Request;
  readonly mapping: SgMapping | undefined;
  readonly since: number;
  resolve(): void;
  reject(error: unknown): void;
}

const HEAD_BYTES = 16;
/** The initial status, which the device overwrites. */
const NO_RESULT = 0xff;

export class Requests {
  readonly queue: VirtQueue;
  readonly #dma: DmaDevice;
  readonly #memory: CoherentBuffer;
  readonly #heads: ArrayOf<typeof RequestHead>;
  readonly #statuses: ArrayOf<typeof RequestStatus>;
  /** Indexed by the number of the chain. */
  readonly #pending: (Pending | undefined)[];
  #count = 0;

  /** @throws DmaError ENOMEM */
  constructor(dma: DmaDevice, size: number) {
    this.#dma = dma;
    this.queue = new VirtQueue(dma, size);
    try {
      this.#memory = dma.allocCoherent((HEAD_BYTES + 1) * size);
    } catch (error) {
      this.queue[Symbol.dispose]();
      throw error;
    }
    this.#heads = RequestHead.over(this.#memory.bytes.subarray(0, HEAD_BYTES * size));
    this.#statuses = RequestStatus.over(this.#memory.bytes.subarray(HEAD_BYTES * size));
    this.#pending = new Array<Pending | undefined>(size).fill(undefined);
  }

  /** The number of requests that the device has. */
  get count(): number {
    return this.#count;
  }

  /**
   * The time at which the oldest of them was given to the device, as `performance.now()`; undefined if it has none.
   */
  get oldest(): number | undefined {
    let oldest: number | undefined;
    for (const one of this.#pending) {
      if (one !== undefined && (oldest === undefined || one.since < oldest)) oldest = one.since;
    }
    return oldest;
  }

  /**
   * Gives a request to the device, which has to be notified afterwards. Returns the promise of its end, or undefined
   * if there is no room now.
   * @throws DmaError the errors of `mapSg`
   */
  add(request: Request): Promise<void> | undefined {
    const { type, payload } = request;
    const deviceWrites = type === REQUEST.read || type === REQUEST.id;
    // A chain needs three descriptors or more: head, data and status. With fewer free ones nothing is mapped.
    if (this.queue.free < 3) return undefined;
    const mapping = payload && this.#dma.mapSg([payload], deviceWrites ? 'from-device' : 'to-device');
    const segments = mapping?.segments ?? [];
    if (this.queue.free < segments.length + 2) {
      mapping?.unmap();
      return undefined;
    }
    return new Promise((resolve, reject) => {
      // The chain begins with the next free descriptor, and uses the memory that belongs to it.
      const chain = this.queue.nextChain;
      this.#heads.type.set(chain, type);
      this.#heads.sector.setParts(chain, request.sector >>> 0, Math.floor(request.sector / 2 ** 32));
      this.#statuses.value.set(chain, NO_RESULT);
      const head = this.#piece(HEAD_BYTES * chain, HEAD_BYTES);
      const status = this.#piece(HEAD_BYTES * this.queue.size + chain, 1);
      this.#pending[chain] = { request, mapping, since: performance.now(), resolve, reject };
      this.#count++;
      if (deviceWrites) this.queue.add([head], [...segments, status]);
      else this.queue.add([head, ...segments], [status]);
    });
  }

  /**
   * Settles the requests that the device is done with. @throws DmaError EIO the device used a chain that it was not
   * given
   */
  reap(): void {
    this.queue.reap((chain, written) => {
      const result = this.#statuses.value.get(chain);
      const { request } = this.#pending[chain]!;
      this.#settle(chain, failureOf(request, result, written));
    });
  }

  /** The device was reset, or is gone: none of the requests will end by itself. */
  failAll(error: DmaError): void {
    for (let chain = 0; chain < this.#pending.length; chain++) {
      if (this.#pending[chain] !== undefined) this.#settle(chain, error);
    }
  }

  [Symbol.dispose](): void {
    this.queue[Symbol.dispose]();
    this.#memory.free();
  }

  /** The memory belongs to the caller again before the promise settles. */
  #settle(chain: number, error: DmaError | undefined): void {
    const { mapping, resolve, reject } = this.#pending[chain]!;
    this.#pending[chain] = undefined;
    this.#count--;
    let failure: unknown = error;
    try {
      mapping?.unmap();
    } catch (detached) {
      failure ??= detached;
    }
    if (failure === undefined) resolve();
    else reject(failure);
  }

  /** A piece of the memory for heads and statuses. */
  #piece(offset: number, length: number): Piece {
    const low = this.#memory.low + offset;
    const carry = low >= 2 ** 32 ? 1 : 0;
    return { low: low - carry * 2 ** 32, high: this.#memory.high + carry, length };
  }
}

const NAMES: Readonly<Record<number, string>> = {
  [REQUEST.read]: 'read',
  [REQUEST.write]: 'write',
  [REQUEST.flush]: 'flush',
  [REQUEST.id]: 'identification',
};

function failureOf(
  { type, sector, payload }: Request,
  result: number,
  written: number,
): DmaError | undefined {
  const bytes = payload?.byteLength ?? 0;
  const what = `${NAMES[type]}${bytes > 0 ? ` of ${bytes} bytes at sector ${sector}` : ''}`;
  if (result === RESULT.unsupported) {
    return new DmaError('EOPNOTSUPP', `the device has no ${what}`, { remedy: 'do without it' });
  }
  if (result !== RESULT.ok) {
    const why = result === RESULT.error ? 'an error of the disk' : `status ${result}`;
    return new DmaError('EIO', `${what} failed: ${why}`, { remedy: 'look at the disk behind the device' });
  }
  // The status is written last. So all bytes before it were written, too, if the device is right.
  if (type === REQUEST.read && written < bytes + 1) {
    return new DmaError('EIO', `${what} brought ${Math.max(written - 1, 0)} bytes`, { remedy: 'try again' });
  }
  return undefined;
}
