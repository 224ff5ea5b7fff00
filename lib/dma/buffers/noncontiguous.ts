/**
 * Memory in one piece for the device, and in as many as it takes for the CPU (dma_alloc_noncontiguous): for buffers so
 * large that their source has no memory of that size in one piece, or JavaScript no ArrayBuffer (Node.js 20: 4 GiB).
 * With an IOMMU the pieces are mapped side by side; without one there can only be one piece. Where
 * memory of the whole size is available in one piece, the buffer has one piece.
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
  /** Bytes of a piece are the CPU's from here on. */
  syncPieceForCpu(buffer: NoncontiguousBuffer, piece: OwnRegion, offset: number, size: number): void;
  /** Bytes of a piece are the device's from here on. */
  syncPieceForDevice(buffer: NoncontiguousBuffer, piece: OwnRegion, offset: number, size: number): void;
  releasePieces(buffer: NoncontiguousBuffer, regions: readonly OwnRegion[]): void;
}

/**
 * Memory from `DmaDevice.allocNoncontiguous`. The device owns it from `syncForDevice` on, the CPU from `syncForCpu` on;
 * fresh memory is the CPU's.
 */
export class NoncontiguousBuffer {
  /** Bytes asked for. */
  readonly size: number;
  /** Which way the syncs go. Where there is an IOMMU, it lets the device read and write, as the kernel has it. */
  readonly direction: DmaDirection;
  /** All of it, in order. Length 0 once freed. */
  readonly pieces: readonly Uint8Array<ArrayBuffer>[];

  readonly #owner: NoncontiguousOwner;
  readonly #regions: readonly OwnRegion[];
  #freed = false;

  /** @param regions side by side for the device, all but the last whole granules @internal */
  constructor(owner: NoncontiguousOwner, regions: readonly OwnRegion[], direction: DmaDirection) {
    this.size = regions.reduce((sum, { size }) => sum + size, 0);
    this.direction = direction;
    this.pieces = regions.map((region) => region.view(0, region.size));
    this.#owner = owner;
    this.#regions = regions;
  }

  /** Address of the first byte for the device, where the one segment starts. @throws DmaError EINVAL once freed */
  get dmaAddress(): bigint {
    return BigInt(this.#address());
  }

  /** Bits 0 to 31 of the address. @throws DmaError EINVAL once freed */
  get low(): number {
    return this.#address() >>> 0;
  }

  /** Bits 32 to 63 of the address. @throws DmaError EINVAL once freed */
  get high(): number {
    return Math.floor(this.#address() / 2 ** 32);
  }

  /**
   * All of it as one view (dma_vmap_noncontiguous).
   * @throws DmaError EOPNOTSUPP it is in several pieces, which no ArrayBuffer can cover · EINVAL once freed
   */
  get bytes(): Uint8Array<ArrayBuffer> {
    this.#checkAlive();
    const { pieces } = this;
    if (pieces.length === 1) return pieces[0]!;
    throw new DmaError('EOPNOTSUPP', `${this.size} bytes are in ${pieces.length} pieces for the CPU`, {
      remedy: 'use the pieces one by one, or allocNoncoherent, which has one or fails',
    });
  }

  /** Whether `free` was called. */
  get freed(): boolean {
    return this.#freed;
  }

  /** Bytes [offset, offset + size) are the CPU's (dma_sync_sgtable_for_cpu). @throws DmaError EINVAL freed, outside */
  syncForCpu(offset = 0, size: number = this.size - offset): void {
    this.#checkRange(offset, size);
    for (const [piece, from, bytes] of this.#parts(offset, size)) {
      this.#owner.syncPieceForCpu(this, piece, from, bytes);
    }
  }

  /** Bytes [offset, offset + size) are the device's (dma_sync_sgtable_for_device). @throws DmaError as `syncForCpu` */
  syncForDevice(offset = 0, size: number = this.size - offset): void {
    this.#checkRange(offset, size);
    for (const [piece, from, bytes] of this.#parts(offset, size)) {
      this.#owner.syncPieceForDevice(this, piece, from, bytes);
    }
  }

  /** Unmap, kill every view, recycle (dma_free_noncontiguous). @throws DmaError EINVAL when freed before */
  free(): void {
    if (this.#freed) throw this.#usedAfterFree('released-twice');
    this.#freed = true;
    this.#owner.releasePieces(this, this.#regions);
  }

  /** Frees what is still held; harmless after `free`. */
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

  /** The pieces that hold [offset, offset + size), with the offset in each and the bytes of it. */
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
