/**
 * A split virtqueue (2.7), the driver's side: a table of descriptors, a ring of the chains that the device may take,
 * and a ring of the chains that it has used. Both indices count freely in 16 bits.
 *
 *      add      writes descriptors, then an entry of the available ring, then its index; the device sees this order
 *      publish  writes the index; then, behind a full barrier, reads if the device wants a notification
 *      reap     reads the used index, and then the entries up to it
 *
 * The driver knows the free descriptors and the order of each chain from its own memory alone, because the device could
 * overwrite the table.
 */
import {
  type ArrayOf,
  type CoherentBuffer,
  type DmaDevice,
  DmaError,
  mb,
  RingIndex,
} from '../../lib/index.ts';
import {
  AvailableEntry,
  DESCRIPTOR_FLAG,
  Descriptor,
  NO_NOTIFICATION,
  RING_HEAD_BYTES,
  RingHead,
  UsedEntry,
} from './registers.ts';

/** A piece of memory, as the device sees it. */
export interface Piece {
  readonly low: number;
  readonly high: number;
  readonly length: number;
}

export class VirtQueue {
  /** The number of descriptors. */
  readonly size: number;
  readonly #memory: CoherentBuffer;
  readonly #usedAt: number;
  readonly #table: ArrayOf<typeof Descriptor>;
  readonly #available: ArrayOf<typeof RingHead>;
  readonly #availableEntries: ArrayOf<typeof AvailableEntry>;
  readonly #used: ArrayOf<typeof RingHead>;
  readonly #usedEntries: ArrayOf<typeof UsedEntry>;
  readonly #put: RingIndex;
  readonly #got: RingIndex;
  /** For each descriptor, the one that follows it in its chain or in the free list. */
  readonly #next: Uint16Array;
  /** For each descriptor, the length of the chain that begins there; 0 if none does. */
  readonly #chain: Uint16Array;
  #firstFree = 0;
  #free: number;

  /** @param size a power of two @throws DmaError ENOMEM */
  constructor(dma: DmaDevice, size: number) {
    this.size = size;
    const availableAt = 16 * size;
    this.#usedAt = Math.ceil((availableAt + RING_HEAD_BYTES + 2 * size + 2) / 4) * 4;
    this.#memory = dma.allocCoherent(this.#usedAt + RING_HEAD_BYTES + 8 * size + 2);
    const part = (from: number, bytes: number) => this.#memory.bytes.subarray(from, from + bytes);
    this.#table = Descriptor.over(part(0, 16 * size));
    this.#available = RingHead.over(part(availableAt, RING_HEAD_BYTES));
    this.#availableEntries = AvailableEntry.over(part(availableAt + RING_HEAD_BYTES, 2 * size));
    this.#used = RingHead.over(part(this.#usedAt, RING_HEAD_BYTES));
    this.#usedEntries = UsedEntry.over(part(this.#usedAt + RING_HEAD_BYTES, 8 * size));
    this.#put = new RingIndex(size, { bits: 16 });
    this.#got = new RingIndex(size, { bits: 16 });
    this.#next = new Uint16Array(size);
    this.#chain = new Uint16Array(size);
    this.#free = size;
    this.clear();
  }

  /** The addresses of the table, of the available ring and of the used ring. */
  get descriptors(): bigint {
    return this.#memory.dmaAddress;
  }

  get available(): bigint {
    return this.#memory.dmaAddress + BigInt(16 * this.size);
  }

  get used(): bigint {
    return this.#memory.dmaAddress + BigInt(this.#usedAt);
  }

  /** The number of free descriptors. */
  get free(): number {
    return this.#free;
  }

  /** The number of the chain that `add` makes next. */
  get nextChain(): number {
    return this.#firstFree;
  }

  /** Resets the queue to its first state. The device was reset, and does not know the queue. */
  clear(): void {
    this.#memory.bytes.fill(0);
    for (let i = 0; i < this.size; i++) this.#next[i] = i + 1;
    this.#chain.fill(0);
    this.#put.reset();
    this.#got.reset();
    this.#firstFree = 0;
    this.#free = this.size;
  }

  /**
   * Makes a chain of these pieces: first those that the device reads, then those that it writes. Returns its number.
   * `reap` passes that number when the device is done. There must be enough free descriptors.
   */
  add(reads: readonly Piece[], writes: readonly Piece[]): number {
    const head = this.#firstFree;
    const count = reads.length + writes.length;
    let at = head;
    for (let i = 0; i < count; i++) {
      const piece = i < reads.length ? reads[i]! : writes[i - reads.length]!;
      const direction = i < reads.length ? 0 : DESCRIPTOR_FLAG.deviceWrites;
      const next = this.#next[at]!;
      this.#table.address.setParts(at, piece.low, piece.high);
      this.#table.length.set(at, piece.length);
      this.#table.flags.set(at, direction | (i < count - 1 ? DESCRIPTOR_FLAG.next : 0));
      this.#table.next.set(at, next);
      at = next;
    }
    this.#firstFree = at;
    this.#free -= count;
    this.#chain[head] = count;
    this.#availableEntries.head.set(this.#put.index, head);
    this.#put.advance();
    this.#available.index.store(0, this.#put.count);
    return head;
  }

  /** True if the device wants a notification of the new chains. */
  get wantsNotification(): boolean {
    // The device announces that it sleeps, and then reads the index. Because of the barrier, at least one side sees
    // the other's write.
    mb();
    return (this.#used.flags.get(0) & NO_NOTIFICATION) === 0;
  }

  /**
   * Passes each chain that the device has used to `done`, with the number of bytes that the device claims to have
   * written. Its descriptors are free then.
   * @throws DmaError EIO the device used a chain that it was not given
   */
  reap(done: (chain: number, written: number) => void): void {
    const used = this.#used.index.load(0);
    for (let left = (used - this.#got.count) & 0xffff; left > 0; left--) {
      if (left > this.size) throw lie(`says that it has used ${left} chains`);
      const chain = this.#usedEntries.id.get(this.#got.index);
      const written = this.#usedEntries.length.get(this.#got.index);
      if (chain >= this.size || this.#chain[chain] === 0) throw lie(`says that it has used chain ${chain}`);
      this.#got.advance();
      this.#release(chain);
      done(chain, written);
    }
  }

  [Symbol.dispose](): void {
    this.#memory.free();
  }

  #release(chain: number): void {
    const count = this.#chain[chain]!;
    let last = chain;
    for (let i = 1; i < count; i++) last = this.#next[last]!;
    this.#next[last] = this.#firstFree;
    this.#firstFree = chain;
    this.#free += count;
    this.#chain[chain] = 0;
  }
}

function lie(what: string): DmaError {
  return new DmaError('EIO', `the device ${what}, which it was not given`, { remedy: 'reset the device' });
}
