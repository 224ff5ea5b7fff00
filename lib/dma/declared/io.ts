/**
 * Declared memory that is part of a BAR (DMA_MEMORY_IO of the 4.x kernel). It is memory on the device's own board.
 * The CPU reaches it by accesses of 8 to 64 bits, and never as an array.
 */
import { checkBytes, describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import { isInside } from '../iova/links.ts';
import type { Misuse, Refuser } from '../words/misuse.ts';

/** A BAR as far as this file needs it: a `Bar`. Offsets are bytes, and the errors are those of `Bar`. */
export interface IoRegisters {
  readonly info: { readonly size: number; readonly kind: 'memory' | 'io' };
  /** Read 8 bits in one access. @param offset bytes from the start of the BAR */
  read8(offset: number): number;
  /** Read 16 bits in one access. @param offset bytes from the start of the BAR */
  read16(offset: number): number;
  /** Read 32 bits in one access. @param offset bytes from the start of the BAR */
  read32(offset: number): number;
  /** Read 64 bits in one access. @param offset bytes from the start of the BAR */
  read64(offset: number): bigint;
  /** Write 8 bits in one access. @param offset bytes from the start of the BAR */
  write8(offset: number, value: number): void;
  /** Write 16 bits in one access. @param offset bytes from the start of the BAR */
  write16(offset: number, value: number): void;
  /** Write 32 bits in one access. @param offset bytes from the start of the BAR */
  write32(offset: number, value: number): void;
  /** Write 64 bits in one access. @param offset bytes from the start of the BAR */
  write64(offset: number, value: bigint): void;
}

/** The place of a buffer. */
export interface IoPlace {
  readonly bar: IoRegisters;
  /** The offset in the BAR of the first byte. */
  readonly offset: number;
  /** The device address of the first byte. */
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /** False once the memory was freed. */
  taken: boolean;
}

/** The device of a buffer, as far as the buffer needs it. */
export interface CoherentIoOwner extends Refuser<CoherentIoBuffer> {
  releaseIo(buffer: CoherentIoBuffer, place: IoPlace): void;
}

/**
 * Memory from `DmaDevice.allocCoherentIo`. Offsets count from its first byte. Each call of `read` and `write` is one
 * access of that width.
 * @throws DmaError EINVAL outside the buffer, misaligned in the BAR, a value too wide, or freed · EIO, ENODEV as the
 *   BAR does
 */
export class CoherentIoBuffer {
  /** The bytes that the driver asked for. */
  readonly size: number;

  readonly #owner: CoherentIoOwner;
  readonly #place: IoPlace;
  #freed = false;

  /** @internal */
  constructor(owner: CoherentIoOwner, place: IoPlace) {
    this.size = place.size;
    this.#owner = owner;
    this.#place = place;
  }

  /** The address of the first byte for the device. @throws DmaError EINVAL once freed */
  get dmaAddress(): bigint {
    this.#checkAlive();
    return BigInt(this.#place.address);
  }

  /** The address bits 0 to 31. @throws DmaError EINVAL once freed */
  get low(): number {
    this.#checkAlive();
    return this.#place.address >>> 0;
  }

  /** The address bits 32 to 63. @throws DmaError EINVAL once freed */
  get high(): number {
    this.#checkAlive();
    return Math.floor(this.#place.address / 2 ** 32);
  }

  /** True once the buffer was freed. */
  get freed(): boolean {
    return this.#freed;
  }

  /** Read 8 bits in one access. @param offset bytes from the start of the buffer */
  read8(offset: number): number {
    return this.#place.bar.read8(this.#at(offset, 1));
  }

  /** Read 16 bits in one access. @param offset bytes from the start of the buffer */
  read16(offset: number): number {
    return this.#place.bar.read16(this.#at(offset, 2));
  }

  /** Read 32 bits in one access. @param offset bytes from the start of the buffer */
  read32(offset: number): number {
    return this.#place.bar.read32(this.#at(offset, 4));
  }

  /** Read 64 bits in one access. @param offset bytes from the start of the buffer */
  read64(offset: number): bigint {
    return this.#place.bar.read64(this.#at(offset, 8));
  }

  /** Write 8 bits in one access. @param offset bytes from the start of the buffer */
  write8(offset: number, value: number): void {
    this.#place.bar.write8(this.#at(offset, 1), value);
  }

  /** Write 16 bits in one access. @param offset bytes from the start of the buffer */
  write16(offset: number, value: number): void {
    this.#place.bar.write16(this.#at(offset, 2), value);
  }

  /** Write 32 bits in one access. @param offset bytes from the start of the buffer */
  write32(offset: number, value: number): void {
    this.#place.bar.write32(this.#at(offset, 4), value);
  }

  /** Write 64 bits in one access. @param offset bytes from the start of the buffer */
  write64(offset: number, value: bigint): void {
    this.#place.bar.write64(this.#at(offset, 8), value);
  }

  /**
   * Copy bytes into the buffer (memcpy_toio), in ascending order. The accesses have 32 bits, and 8 bits for the bytes
   * that are left over at either end.
   * @param offset the offset of the first byte
   * @throws DmaError EINVAL outside, freed · EIO, ENODEV part of it was written
   */
  copyIn(bytes: Uint8Array, offset = 0): void {
    const { bar } = this.#place;
    const words = wordsOf(bytes);
    this.#each(offset, bytes.length, (at, done, isWord) => {
      if (isWord) bar.write32(at, words.getUint32(done, true));
      else bar.write8(at, bytes[done]!);
    });
  }

  /** Copy bytes out of the buffer (memcpy_fromio), with the accesses and errors of `copyIn`. @returns `bytes` */
  copyOut(bytes: Uint8Array, offset = 0): Uint8Array {
    const { bar } = this.#place;
    const words = wordsOf(bytes);
    this.#each(offset, bytes.length, (at, done, isWord) => {
      if (isWord) words.setUint32(done, bar.read32(at), true);
      else bytes[done] = bar.read8(at);
    });
    return bytes;
  }

  /** Free the memory (dma_free_coherent). @throws DmaError EINVAL when freed before */
  free(): void {
    if (this.#freed) throw this.#usedAfterFree('released-twice');
    this.#freed = true;
    this.#owner.releaseIo(this, this.#place);
  }

  /** Free the buffer if it is not freed yet. This is harmless after `free`. */
  [Symbol.dispose](): void {
    if (!this.#freed) this.free();
  }

  /** True if the device has released its memory. @internal */
  get orphaned(): boolean {
    return !this.#place.taken;
  }

  /** The device is closing, or its declared memory was released. @internal */
  revoke(): void {
    this.#freed = true;
  }

  /**
   * Make every access for `length` bytes. `access` gets the offset in the BAR, the number of bytes done before, and
   * true for a 32-bit word.
   */
  #each(offset: number, length: number, access: (at: number, done: number, isWord: boolean) => void): void {
    this.#checkAlive();
    if (length === 0) return;
    const start = this.#at(offset, length);
    for (let done = 0; done < length; ) {
      const at = start + done;
      const isWord = at % 4 === 0 && length - done >= 4;
      access(at, done, isWord);
      done += isWord ? 4 : 1;
    }
  }

  /** The offset in the BAR of `width` bytes at `offset`. */
  #at(offset: number, width: number): number {
    this.#checkAlive();
    if (isInside(offset, width, this.size)) return this.#place.offset + offset;
    throw new DmaError(
      'EINVAL',
      `no ${describe(width)} bytes at offset ${describe(offset)} of ${this.size} bytes`,
      {
        remedy: 'stay inside the buffer',
      },
    );
  }

  #checkAlive(): void {
    if (this.#freed) throw this.#usedAfterFree();
  }

  #usedAfterFree(misuse: Misuse = 'used-after-release'): DmaError {
    const error = new DmaError(
      'EINVAL',
      `memory of ${this.size} bytes in a BAR was used after it was freed`,
      {
        remedy: 'keep it until the device is done with it, and free it once',
      },
    );
    return this.#owner.refuse(misuse, this, error);
  }
}

/** Write 0 to [offset, offset + size) of a BAR in whole words. Both are multiples of 4. */
export function zeroIo(bar: IoRegisters, offset: number, size: number): void {
  for (let at = offset; at < offset + size; at += 4) bar.write32(at, 0);
}

/** @throws DmaError EINVAL no bytes */
function wordsOf(bytes: Uint8Array): DataView {
  checkBytes(bytes, 'the memory to copy');
  // No view can be made of a detached buffer.
  if (bytes.length === 0) return new DataView(new ArrayBuffer(0));
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
