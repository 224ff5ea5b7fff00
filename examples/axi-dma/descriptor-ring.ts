/**
 * A ring of descriptors in coherent memory (PG021, "Scatter Gather Descriptor").
 *
 *      oldest                     next
 *        v                          v
 *      [ given to the engine . . . ][ ours . . . . . . . . ]--> back to the first
 *
 * One descriptor is always ours. So the tail equals the descriptor of the engine only if the engine rests there.
 */
import { type CoherentBuffer, type DmaDevice, DmaError } from '../../lib/index.ts';
import { DESCRIPTOR, DESCRIPTOR_STATUS } from './registers.ts';

const HIGH = 2 ** 32;
const MAX_DESCRIPTORS = 65_536;

export class DescriptorRing {
  readonly count: number;
  readonly #memory: CoherentBuffer;
  readonly #words: Uint32Array;
  #oldest = 0;
  #used = 0;

  /** @throws DmaError EINVAL count · ENOMEM, ENOSPC no memory */
  constructor(dma: DmaDevice, count: number) {
    if (!Number.isInteger(count) || count < 2 || count > MAX_DESCRIPTORS) {
      throw new DmaError('EINVAL', `a ring of ${String(count)} descriptors`, {
        remedy: `pass a whole number from 2 to ${MAX_DESCRIPTORS}`,
      });
    }
    this.count = count;
    this.#memory = dma.allocCoherent(count * DESCRIPTOR.bytes);
    this.#words = new Uint32Array(this.#memory.buffer);
    this.reset();
  }

  /** The number of descriptors that can be added now. */
  get room(): number {
    return this.count - 1 - this.#used;
  }

  /** The device address of descriptor `index`. */
  addressOf(index: number): number {
    return Number(this.#memory.dmaAddress) + index * DESCRIPTOR.bytes;
  }

  /** All descriptors are ours again. The engine must be halted. */
  reset(): void {
    this.#words.fill(0);
    for (let index = 0; index < this.count; index++) {
      this.#setPointer(index, DESCRIPTOR.next, this.addressOf((index + 1) % this.count));
    }
    this.#oldest = this.#used = 0;
  }

  /** Fills the next descriptor. The engine gets it when TAILDESC is written. @returns its index */
  put(address: number, length: number, flags: number): number {
    const index = (this.#oldest + this.#used) % this.count;
    this.#used++;
    this.#setPointer(index, DESCRIPTOR.address, address);
    this.#words[index * DESCRIPTOR.words + DESCRIPTOR.control] = flags | length;
    // The engine reports an error if a descriptor is already complete.
    this.#words[index * DESCRIPTOR.words + DESCRIPTOR.status] = 0;
    return index;
  }

  /** STATUS of the oldest descriptor; undefined if the engine is not done with it, or has none. */
  get finished(): number | undefined {
    if (this.#used === 0) return undefined;
    // The engine may write it at the same time, so it is read once, as a whole.
    const status = Atomics.load(this.#words, this.#oldest * DESCRIPTOR.words + DESCRIPTOR.status);
    return status & DESCRIPTOR_STATUS.complete ? status : undefined;
  }

  /** The oldest descriptor is ours again. */
  take(): void {
    this.#oldest = (this.#oldest + 1) % this.count;
    this.#used--;
  }

  free(): void {
    this.#memory[Symbol.dispose]();
  }

  #setPointer(index: number, word: number, address: number): void {
    const at = index * DESCRIPTOR.words + word;
    this.#words[at] = address >>> 0;
    this.#words[at + 1] = Math.floor(address / HIGH);
  }
}
