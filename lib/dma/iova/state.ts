/**
 * Mapping in two steps (dma_iova_try_alloc, dma_iova_link and related functions of drivers/iommu/dma-iommu.c). First
 * the driver reserves one run of device addresses, then it links memory into the run piece by piece. The device sees
 * one contiguous range. No step searches for addresses or merges segments.
 *
 *      run      | reserved, `size` bytes .................................. |
 *      links    |..first piece|  second  |  third |  last p..|   free        whole granules but at the two ends
 *
 * A link is unlinked whole: an IOMMU behind VFIO cannot split a mapping.
 */

import { checkSize, describe } from '../../arguments.ts';
import { type DmaDirection, directionBits } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import type { OwnMemory } from '../operations/own-memory.ts';
import { MappedView, type PinningContext } from '../placement/mapped-view.ts';
import { roundUp } from '../placement/segments.ts';
import { checkMemoryAttributes, DMA_ATTR } from '../words/attributes.ts';
import { mappableBytes } from '../words/mappable.ts';
import type { Misuse, Refuser } from '../words/misuse.ts';
import { type IovaLink, IovaLinks, isInside } from './links.ts';

/** The device of an IovaState, as far as the state needs it. */
export interface IovaOwner extends Refuser<IovaState> {
  /** Name of the device, for messages. */
  readonly name: string;
  readonly own: OwnMemory;
  readonly pinning: PinningContext;
  /** The addresses were freed. */
  forgetIova(state: IovaState): void;
}

/**
 * Addresses from `DmaDevice.reserveIova` that the driver links memory into. The device may use memory that is linked
 * and synced. Offsets count from `dmaAddress`.
 */
export class IovaState {
  /** Bytes reserved, as the driver asked for. */
  readonly size: number;

  readonly #owner: IovaOwner;
  readonly #range: DeviceRange;
  /** The offset in its granule at which the range starts. */
  readonly #start: number;
  readonly #links: IovaLinks;
  #freed = false;
  #closed = false;
  #bounced = false;

  private constructor(owner: IovaOwner, size: number, range: DeviceRange, start: number) {
    this.#owner = owner;
    this.size = size;
    this.#range = range;
    this.#start = start;
    this.#links = new IovaLinks(size);
  }

  /**
   * Reserve addresses for `size` bytes (dma_iova_try_alloc). The first address has the same offset in its granule as
   * `first`. The result is null if no addresses are free at or below `limit`, or if there is no IOMMU.
   * @throws DmaError EINVAL
   * @internal
   */
  static reserve(
    owner: IovaOwner,
    size: number,
    first: ArrayBufferView | undefined,
    limit: number,
  ): IovaState | null {
    // The kernel warns and returns false.
    if (size === 0) return null;
    checkSize(size, 'the size of an IOVA range');
    const start = first === undefined ? 0 : granuleOffset(owner, mappableBytes(first, 0));
    const span = roundUp(start + size, owner.pinning.operations.granule);
    const range = owner.pinning.operations.reserve(span, limit);
    return range === undefined ? null : new IovaState(owner, size, range, start);
  }

  /** The address of the first byte for the device. @throws DmaError EINVAL once freed */
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

  /** False once the range was freed, or the device was closed. */
  get reserved(): boolean {
    return !this.#freed;
  }

  /** Bytes that are linked now. */
  get linked(): number {
    return this.#links.bytes;
  }

  /** Bytes that are linked and not synced yet. The device must not use them. */
  get unsynced(): number {
    return this.#links.unsyncedBytes;
  }

  /**
   * Link memory at `offset` of the range (dma_iova_link). Only the first piece may start inside a granule, and only
   * the last may end in one. Partial granules of foreign memory go through bounce pages. Memory that is linked in
   * place stays pinned.
   * @throws DmaError EIO starts inside a granule, at an offset other than 0 · EINVAL outside the range, or the first
   *   byte has another offset in its granule than the range, or memory that cannot be mapped · EEXIST something is
   *   linked there · EPERM a copy is needed and DMA_ATTR.REQUIRE_COHERENT forbids it · EOPNOTSUPP REQUIRE_COHERENT
   *   after a piece that was copied, or on a device that is not coherent; foreign memory where it cannot be pinned ·
   *   ENOMEM, ENOSPC, EFAULT as the address space has it. Nothing has changed then.
   */
  link(offset: number, view: ArrayBufferView, direction: DmaDirection, attributes = 0): void {
    this.#checkReserved();
    const { own, pinning } = this.#owner;
    const { operations, bounce, cache } = pinning;
    const bits = directionBits(direction);
    if (attributes !== 0) checkMemoryAttributes(attributes);
    const bytes = mappableBytes(view, bits);
    const size = bytes.length;
    const region = own.regionOf(bytes.buffer);
    const start = granuleOffset(this.#owner, bytes);
    const edges = region === undefined && (start !== 0 || size % operations.granule !== 0);
    this.#checkPlace(offset, size, start);
    this.#checkWay(attributes, edges, region === undefined);
    const address = this.#range.address + this.#start + offset - start;
    const how =
      region?.coherent === true ? { operations, bounce, cache: undefined } : { operations, bounce, cache };
    const placed = new MappedView(how, bytes, address, start, bits, edges);
    if (placed.hasEdges) this.#bounced = true;
    this.#links.insert({
      offset,
      size,
      from: offset - start,
      to: this.#granuleEnd(offset, size),
      bits,
      attributes,
      placed,
      synced: false,
    });
    if ((attributes & DMA_ATTR.SKIP_CPU_SYNC) === 0) placed.clean(0, size);
  }

  /** The link at this offset of the range. @internal */
  linkAt(offset: number): Pick<IovaLink, 'offset' | 'size' | 'bits' | 'synced'> | undefined {
    return this.#links.at(offset);
  }

  /**
   * Let the device use the memory that is linked in [offset, offset + size) (dma_iova_sync). VFIO has told the IOMMU
   * already, but drivers must call this nevertheless: `unsynced` counts the bytes that lack it. As in the kernel, the
   * range may have gaps.
   * @throws DmaError EINVAL outside the range
   */
  sync(offset = 0, size: number = this.size - offset): void {
    this.#checkReserved();
    for (const link of this.#links.touching(offset, size)) link.synced = true;
  }

  /**
   * Unlink [offset, offset + size), in whole links (dma_iova_unlink). The device's writes to bounce pages are copied
   * to the memory, by direction, unless DMA_ATTR.SKIP_CPU_SYNC is among the attributes.
   * @param attributes the attributes of the unlink (dma_iova_unlink). Default: those of each `link`.
   * @throws DmaError EINVAL not all of it is linked, or it would cut a link in two (nothing has changed) · EINVAL a
   *   buffer was detached meanwhile: all of it has been unlinked
   */
  unlink(offset: number, size: number, attributes?: number): void {
    this.#checkReserved();
    if (attributes !== undefined) checkMemoryAttributes(attributes);
    if (!release(this.#links.remove(offset, size), attributes)) throw detached();
  }

  /**
   * Free the addresses (dma_iova_free).
   * @throws DmaError EBUSY something is linked · EINVAL freed before
   */
  free(): void {
    this.#checkReserved('released-twice');
    if (this.linked > 0) {
      throw new DmaError('EBUSY', `${this.linked} bytes are linked`, {
        remedy: 'unlink them first, or use destroy()',
      });
    }
    this.#freed = true;
    this.#owner.pinning.operations.unreserve(this.#range);
    this.#owner.forgetIova(this);
  }

  /** Unlink everything, then `free` (dma_iova_destroy). It throws as these two. The addresses are freed in any case. */
  destroy(): void {
    this.#checkReserved('released-twice');
    const intact = release(this.#links.removeAll());
    this.free();
    if (!intact) throw detached();
  }

  /** Call `destroy` if the range is not freed yet. This is harmless after `free`. */
  [Symbol.dispose](): void {
    if (!this.#freed) this.destroy();
  }

  /** The device is closing: its operations free the addresses, and nothing is copied. @internal */
  revoke(): void {
    this.#freed = true;
    this.#closed = true;
    this.#links.removeAll();
  }

  /** Check the rules of dma_iova_link for the place of a piece. */
  #checkPlace(offset: number, size: number, start: number): void {
    const { granule } = this.#owner.pinning.operations;
    if (start !== 0 && offset !== 0) {
      throw new DmaError(
        'EIO',
        `memory that starts at byte ${start} of its granule, linked at ${describe(offset)}`,
        {
          remedy: `only the first piece may start inside a granule of ${granule} bytes`,
        },
      );
    }
    if (!isInside(offset, size, this.size) || (this.#start + offset) % granule !== start) {
      throw new DmaError(
        'EINVAL',
        `${size} bytes at offset ${describe(offset)} of ${this.size} reserved bytes`,
        {
          remedy: `link whole granules of ${granule} bytes but for the two ends; give reserveIova the first piece`,
        },
      );
    }
    // The check goes from granule to granule, because links never share one.
    if (!this.#links.overlap(offset - start, this.#granuleEnd(offset, size))) return;
    throw new DmaError('EEXIST', `something is linked in ${size} bytes at offset ${offset}`, {
      remedy: 'unlink it first',
    });
  }

  /** The offset in the range at which the last granule of a link ends. */
  #granuleEnd(offset: number, size: number): number {
    return roundUp(this.#start + offset + size, this.#owner.pinning.operations.granule) - this.#start;
  }

  #checkWay(attributes: number, edges: boolean, foreign: boolean): void {
    const { operations, cache } = this.#owner.pinning;
    const incoherent = cache !== undefined;
    const strict = (attributes & DMA_ATTR.REQUIRE_COHERENT) !== 0;
    if (strict && (incoherent || this.#bounced)) {
      const why = incoherent ? 'the device is not coherent' : 'an earlier piece was copied';
      throw new DmaError('EOPNOTSUPP', `${why}, and DMA_ATTR.REQUIRE_COHERENT was given`, {
        remedy: 'leave it out',
      });
    }
    if (foreign && !operations.pinsForeignMemory) {
      throw new DmaError('EOPNOTSUPP', `${this.#owner.name} cannot be given foreign memory in place`, {
        remedy: 'use mapSg, which copies, or memory that was allocated for the device',
      });
    }
    if (!strict || !edges) return;
    throw new DmaError(
      'EPERM',
      'a partial granule has to be copied, and DMA_ATTR.REQUIRE_COHERENT forbids it',
      {
        remedy: 'link whole granules',
      },
    );
  }

  #address(): number {
    this.#checkReserved();
    return this.#range.address + this.#start;
  }

  #checkReserved(misuse: Misuse = 'used-after-release'): void {
    if (!this.#freed) return;
    throw this.#owner.refuse(misuse, this, this.#closed ? this.#closedError() : this.#usedAfterFree());
  }

  #closedError(): DmaError {
    return new DmaError('ENODEV', `${this.#owner.name} is closed`, {
      remedy: 'free addresses before closing',
    });
  }

  #usedAfterFree(): DmaError {
    return new DmaError('EINVAL', `${this.size} reserved addresses were used after they were freed`, {
      remedy: 'keep them until the device is done with them, and free them once',
    });
  }
}

function granuleOffset({ own, pinning: { operations } }: IovaOwner, bytes: Uint8Array): number {
  const first = own.regionOf(bytes.buffer)?.address ?? operations.pageOffset(bytes.buffer);
  return (first + bytes.byteOffset) % operations.granule;
}

/** Release the links. False if bytes could not be copied because a buffer was detached. */
function release(links: readonly IovaLink[], end?: number): boolean {
  let intact = true;
  for (const { placed, attributes } of links) if (!placed.finish(end ?? attributes)) intact = false;
  return intact;
}

function detached(): DmaError {
  return new DmaError(
    'EINVAL',
    'a buffer was detached while it was linked, what the device wrote to it is lost',
    {
      remedy: 'keep buffers until they are unlinked',
    },
  );
}
