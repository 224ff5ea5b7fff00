/**
 * Memory that the CPU and the device use in turn (dma_alloc_noncoherent). It is cached, so a sync changes its owner.
 */

import { describe } from '../../arguments.ts';
import type { DmaDirection } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import type { OwnRegion } from '../operations/own-memory.ts';
import type { Misuse, Refuser } from '../words/misuse.ts';

/** The device of a noncoherent buffer, as far as the buffer needs it. */
export interface NoncoherentOwner extends Refuser<NoncoherentBuffer> {
  /** The CPU, or the device, owns these bytes of the buffer from here on. */
  syncBufferForCpu(buffer: NoncoherentBuffer, offset: number, size: number): void;
  syncBufferForDevice(buffer: NoncoherentBuffer, offset: number, size: number): void;
  releaseBuffer(buffer: NoncoherentBuffer, region: OwnRegion): void;
}

/**
 * Memory from `DmaDevice.allocNoncoherent`. The device owns it from `syncForDevice` on, the CPU from `syncForCpu` on.
 * The CPU owns fresh memory.
 */
export class NoncoherentBuffer {
  /** The bytes that the driver asked for. */
  readonly size: number;
  readonly direction: DmaDirection;
  /** An ArrayBuffer of exactly `size` bytes. */
  readonly buffer: ArrayBuffer;
  /** The whole memory. Its length is 0 once freed. */
  readonly bytes: Uint8Array<ArrayBuffer>;

  readonly #owner: NoncoherentOwner;
  readonly #region: OwnRegion;
  #dmaAddress: bigint | undefined;
  #freed = false;

  /** @internal */
  constructor(owner: NoncoherentOwner, region: OwnRegion, direction: DmaDirection) {
    this.size = region.size;
    this.direction = direction;
    this.buffer = region.buffer;
    this.bytes = region.view(0, region.size);
    this.#owner = owner;
    this.#region = region;
  }

  /** The address of the first byte for the device. @throws DmaError EINVAL once freed */
  get dmaAddress(): bigint {
    this.#checkAlive();
    this.#dmaAddress ??= BigInt(this.#region.address);
    return this.#dmaAddress;
  }

  /** The address bits 0 to 31. @throws DmaError EINVAL once freed */
  get low(): number {
    this.#checkAlive();
    return this.#region.address >>> 0;
  }

  /** The address bits 32 to 63. @throws DmaError EINVAL once freed */
  get high(): number {
    this.#checkAlive();
    return Math.floor(this.#region.address / 2 ** 32);
  }

  /** True once the buffer was freed. */
  get freed(): boolean {
    return this.#freed;
  }

  /** Give bytes [offset, offset + size) to the CPU (dma_sync_single_for_cpu). @throws DmaError EINVAL freed, outside */
  syncForCpu(offset = 0, size: number = this.size - offset): void {
    this.#checkRange(offset, size);
    if (size > 0) this.#owner.syncBufferForCpu(this, offset, size);
  }

  /** Give bytes [offset, offset + size) to the device (dma_sync_single_for_device). @throws DmaError as `syncForCpu` */
  syncForDevice(offset = 0, size: number = this.size - offset): void {
    this.#checkRange(offset, size);
    if (size > 0) this.#owner.syncBufferForDevice(this, offset, size);
  }

  /**
   * Unmap the memory, end every view, and recycle the memory (dma_free_noncoherent).
   * @throws DmaError EINVAL when freed before
   */
  free(): void {
    this.#checkAlive('released-twice');
    this.#freed = true;
    this.#owner.releaseBuffer(this, this.#region);
  }

  /** Free the buffer if it is not freed yet. This is harmless after `free`. */
  [Symbol.dispose](): void {
    if (!this.#freed) this.free();
  }

  /** The device is closing: its operations release the memory themselves. @internal */
  revoke(): void {
    this.#freed = true;
  }

  #checkRange(offset: number, size: number): void {
    this.#checkAlive();
    const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(size);
    if (whole && offset >= 0 && size >= 0 && size <= this.size - offset) return;
    const what = `no ${describe(size)} bytes at offset ${describe(offset)} of ${this.size} bytes`;
    const error = new DmaError('EINVAL', what, { remedy: 'sync a part of the buffer' });
    throw this.#owner.refuse('sync-out-of-range', this, error);
  }

  #checkAlive(misuse: Misuse = 'used-after-release'): void {
    if (!this.#freed) return;
    const what = `a noncoherent buffer of ${this.size} bytes was used after it was freed`;
    const remedy = 'keep it until the device is done with it, and free it once';
    throw this.#owner.refuse(misuse, this, new DmaError('EINVAL', what, { remedy }));
  }
}
