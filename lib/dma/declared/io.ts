/**
 * Declared memory that is part of a BAR (DMA_MEMORY_IO of the 4.x kernel): memory on the device's own board, which the
 * CPU reaches by accesses of a width and never as an array.
 */
import { checkBytes, describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import { isInside } from '../iova/links.ts';
import type { Misuse, Refuser } from '../words/misuse.ts';

/** A BAR, as far as memory behind one needs it: a `Bar`. Offsets are bytes, the errors those of `Bar`. */
export interface IoRegisters {
  readonly info: { readonly size: number; readonly kind: 'memory' | 'io' };
  /** One read of 8 bits. @param offset bytes from the start of the BAR */
  read8(offset: number): number;
  /** One read of 16 bits. @param offset bytes from the start of the BAR */
  read16(offset: number): number;
  /** One read of 32 bits. @param offset bytes from the start of the BAR */
  read32(offset: number): number;
  /** One read of 64 bits. @param offset bytes from the start of the BAR */
  read64(offset: number): bigint;
  /** One write of 8 bits. @param offset bytes from the start of the BAR */
  write8(offset: number, value: number): void;
  /** One write of 16 bits. @param offset bytes from the start of the BAR */
  write16(offset: number, value: number): void;
  /** One write of 32 bits. @param offset bytes from the start of the BAR */
  write32(offset: number, value: number): void;
  /** One write of 64 bits. @param offset bytes from the start of the BAR */
  write64(offset: number, value: bigint): void;
}

/** Where a buffer lies. */
export interface IoPlace {
  readonly bar: IoRegisters;
  /** Offset in the BAR of the first byte. */
  readonly offset: number;
  /** Device address of the first byte. */
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /** False once the memory was given back. */
  taken: boolean;
}

/** The device of a buffer, as far as the buffer needs it. */
export interface CoherentIoOwner extends Refuser<CoherentIoBuffer> {
  releaseIo(buffer: CoherentIoBuffer, place: IoPlace): void;
}

/**
 * Memory from `DmaDevice.allocCoherentIo`. Offsets count from its first byte; each call of `read` and `write` is one
 * access of that width. They throw DmaError EINVAL outside the buffer, misaligned in the BAR, a value too wide, or
 * freed · EIO, ENODEV as the BAR does.
 */
export class CoherentIoBuffer {
  /** Bytes asked for. */
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

  /** Address of the first byte for the device. @throws DmaError EINVAL once freed */
  get dmaAddress(): bigint {
    this.#checkAlive();
    return BigInt(this.#place.address);
  }

  /** Bits 0 to 31 of the address. @throws DmaError EINVAL once freed */
  get low(): number {
    this.#checkAlive();
    return this.#place.address >>> 0;
  }

  /** Bits 32 to 63 of the address. @throws DmaError EINVAL once freed */
  get high(): number {
    this.#checkAlive();
    return Math.floor(this.#place.address / 2 ** 32);
  }

  /** Whether `free` was called. */
  get freed(): boolean {
    return this.#freed;
  }

  /** One read of 8 bits. @param offset bytes from the start of the buffer */
  read8(offset: number): number {
    return this.#place.bar.read8(this.#at(offset, 1));
  }

  /** One read of 16 bits. @param offset bytes from the start of the buffer */
  read16(offset: number): number {
    return this.#place.bar.read16(this.#at(offset, 2));
  }

  /** One read of 32 bits. @param offset bytes from the start of the buffer */
  read32(offset: number): number {
    return this.#place.bar.read32(this.#at(offset, 4));
  }

  /** One read of 64 bits. @param offset bytes from the start of the buffer */
  read64(offset: number): bigint {
    return this.#place.bar.read64(this.#at(offset, 8));
  }

  /** One write of 8 bits. @param offset bytes from the start of the buffer */
  write8(offset: number, value: number): void {
    this.#place.bar.write8(this.#at(offset, 1), value);
  }

  /** One write of 16 bits. @param offset bytes from the start of the buffer */
  write16(offset: number, value: number): void {
    this.#place.bar.write16(this.#at(offset, 2), value);
  }

  /** One write of 32 bits. @param offset bytes from the start of the buffer */
  write32(offset: number, value: number): void {
    this.#place.bar.write32(this.#at(offset, 4), value);
  }

  /** One write of 64 bits. @param offset bytes from the start of the buffer */
  write64(offset: number, value: bigint): void {
    this.#place.bar.write64(this.#at(offset, 8), value);
  }

  /**
   * Copy bytes into the buffer (memcpy_toio), in ascending order: 32-bit accesses, and 8-bit ones for what is left over
   * at either end.
   * @param offset where the first byte goes @throws DmaError EINVAL outside, freed · EIO, ENODEV part of it was written
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

  /** Give the memory back (dma_free_coherent). @throws DmaError EINVAL when freed before */
  free(): void {
    if (this.#freed) throw this.#usedAfterFree('released-twice');
    this.#freed = true;
    this.#owner.releaseIo(this, this.#place);
  }

  /** Frees what is still held; harmless after `free`. */
  [Symbol.dispose](): void {
    if (!this.#freed) this.free();
  }

  /** Whether the device has released its memory. @internal */
  get orphaned(): boolean {
    return !this.#place.taken;
  }

  /** The device is closing, or its declared memory was released. @internal */
  revoke(): void {
    this.#freed = true;
  }

  /** Every access for `length` bytes: where in the BAR, how many bytes are done before it, and whether it is a word. */
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

  /** Offset in the BAR of `width` bytes at `offset`. */
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

/** Write 0 to [offset, offset + size) of a BAR, whole words; both are multiples of 4. */
export function zeroIo(bar: IoRegisters, offset: number, size: number): void {
  for (let at = offset; at < offset + size; at += 4) bar.write32(at, 0);
}

/** @throws DmaError EINVAL no bytes */
function wordsOf(bytes: Uint8Array): DataView {
  checkBytes(bytes, 'the memory to copy');
  // A detached buffer takes no view.
  if (bytes.length === 0) return new DataView(new ArrayBuffer(0));
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
