/**
 * Memory that is one piece for the device, and as many pieces as needed for the CPU (dma_alloc_noncontiguous). It is
 * for buffers so large that the memory source has no piece of that size, or JavaScript has no ArrayBuffer of it
 * (Node.js 20: 4 GiB). With an IOMMU the library maps the pieces side by side. Without one there can only be one
 * piece. If the source has the whole size in one piece, the buffer has one piece.
 *
 *      device   | segment ................................ |
 *      CPU      | piece 0 ...... |  | piece 1 |  | piece 2 |     each an ArrayBuffer of its own
 */

import { describe } from '../../arguments.ts';
import type { DmaDirection } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import { isPart } from '../iova/links.ts';
import type { OwnRegion } from '../operations/own-memory.ts';
import { checkAttributes, DMA_ATTR } from '../words/attributes.ts';
import type { Misuse, Refuser } from '../words/misuse.ts';

/** The device of a noncontiguous buffer, as far as the buffer needs it. */
export interface NoncontiguousOwner extends Refuser<NoncontiguousBuffer> {
  /** The CPU owns these bytes of a piece from here on. */
  syncPieceForCpu(buffer: NoncontiguousBuffer, piece: OwnRegion, offset: number, size: number): void;
  /** The device owns these bytes of a piece from here on. */
  syncPieceForDevice(buffer: NoncontiguousBuffer, piece: OwnRegion, offset: number, size: number): void;
  releasePieces(buffer: NoncontiguousBuffer, regions: readonly OwnRegion[]): void;
}

/**
 * Memory from `DmaDevice.allocNoncontiguous`. The device owns it from `syncForDevice` on, the CPU from `syncForCpu`
 * on. The CPU owns fresh memory.
 */
export class NoncontiguousBuffer {
  /** The bytes that the driver asked for. */
  readonly size: number;
  /** The direction of the syncs. An IOMMU lets the device read and write in every case, as in the kernel. */
  readonly direction: DmaDirection;
  /** The whole memory, in order. The pieces have length 0 once freed. */
  readonly pieces: readonly Uint8Array<ArrayBuffer>[];

  readonly #owner: NoncontiguousOwner;
  readonly #regions: readonly OwnRegion[];
  #freed = false;

  /** @param regions they lie side by side for the device; all but the last are whole granules @internal */
  constructor(owner: NoncontiguousOwner, regions: readonly OwnRegion[], direction: DmaDirection) {
    this.size = regions.reduce((sum, { size }) => sum + size, 0);
    this.direction = direction;
    this.pieces = regions.map((region) => region.view(0, region.size));
    this.#owner = owner;
    this.#regions = regions;
  }

  /** The address of the first byte for the device, where the one segment starts. @throws DmaError EINVAL once freed */
  get dmaAddress(): bigint {
    return BigInt(this.#address());
  }

  /** The address bits 0 to 31. @throws DmaError EINVAL once freed */
  get low(): number {
    return this.#address() >>> 0;
  }

  /** The address bits 32 to 63. @throws DmaError EINVAL once freed */
  get high(): number {
    return Math.floor(this.#address() / 2 ** 32);
  }

  /**
   * The whole memory as one view (dma_vmap_noncontiguous).
   * @throws DmaError EOPNOTSUPP it has several pieces, which no ArrayBuffer can cover · EINVAL once freed
   */
  get bytes(): Uint8Array<ArrayBuffer> {
    this.#checkAlive();
    const { pieces } = this;
    if (pieces.length === 1) return pieces[0]!;
    throw new DmaError('EOPNOTSUPP', `${this.size} bytes are in ${pieces.length} pieces for the CPU`, {
      remedy: 'use the pieces one by one, or allocNoncoherent, which has one or fails',
    });
  }

  /** True once the buffer was freed. */
  get freed(): boolean {
    return this.#freed;
  }

  /**
   * Give bytes [offset, offset + size) to the CPU (dma_sync_sgtable_for_cpu).
   * @throws DmaError EINVAL freed, outside
   */
  syncForCpu(offset = 0, size: number = this.size - offset): void {
    this.#checkRange(offset, size);
    for (const [piece, from, bytes] of this.#parts(offset, size)) {
      this.#owner.syncPieceForCpu(this, piece, from, bytes);
    }
  }

  /**
   * Give bytes [offset, offset + size) to the device (dma_sync_sgtable_for_device).
   * @throws DmaError as `syncForCpu`
   */
  syncForDevice(offset = 0, size: number = this.size - offset): void {
    this.#checkRange(offset, size);
    for (const [piece, from, bytes] of this.#parts(offset, size)) {
      this.#owner.syncPieceForDevice(this, piece, from, bytes);
    }
  }

  /**
   * Unmap the memory, end every view, and recycle the memory (dma_free_noncontiguous).
   * @throws DmaError EINVAL when freed before
   */
  free(): void {
    if (this.#freed) throw this.#usedAfterFree('released-twice');
    this.#freed = true;
    this.#owner.releasePieces(this, this.#regions);
  }

  /** Free the buffer if it is not freed yet. This is harmless after `free`. */
  [Symbol.dispose](): void {
    if (!this.#freed) this.free();
  }

  /** The device is closing: its operations release the memory themselves. @internal */
  revoke(): void {
    this.#freed = true;
  }

  #address(): number {
    this.#checkAlive();
    return this.#regions[0]!.address;
  }

  /** The pieces that hold [offset, offset + size), with the offset and the bytes in each. */
  *#parts(offset: number, size: number): Generator<[OwnRegion, number, number]> {
    let start = 0;
    for (const region of this.#regions) {
      const from = Math.max(offset - start, 0);
      const bytes = Math.min(offset + size - start, region.size) - from;
      if (bytes > 0) yield [region, from, bytes];
      start += region.size;
    }
  }

  #checkRange(offset: number, size: number): void {
    this.#checkAlive();
    if (isPart(offset, size, this.size)) return;
    const error = new DmaError(
      'EINVAL',
      `no ${describe(size)} bytes at offset ${describe(offset)} of ${this.size} bytes`,
      {
        remedy: 'sync a part of the buffer',
      },
    );
    throw this.#owner.refuse('sync-out-of-range', this, error);
  }

  #checkAlive(): void {
    if (this.#freed) throw this.#usedAfterFree();
  }

  #usedAfterFree(misuse: Misuse = 'used-after-release'): DmaError {
    const error = new DmaError(
      'EINVAL',
      `a noncontiguous buffer of ${this.size} bytes was used after it was freed`,
      {
        remedy: 'keep it until the device is done with it, and free it once',
      },
    );
    return this.#owner.refuse(misuse, this, error);
  }
}

/** dma_alloc_noncontiguous knows one attribute. @throws DmaError EINVAL */
export function checkNoncontiguousAttributes(attributes: number): void {
  checkAttributes(attributes);
  if ((attributes & ~DMA_ATTR.ALLOC_SINGLE_PAGES) === 0) return;
  throw new DmaError('EINVAL', `the attributes are ${attributes}`, {
    remedy: 'pass DMA_ATTR.ALLOC_SINGLE_PAGES or none',
  });
}
