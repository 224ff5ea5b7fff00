/**
 * Foreign memory that the device reaches in place: the way 'pinned' of `mapSingle`. Each mapping reserves an IOVA range
 * of its own and pins the pages again, even if another mapping of the same buffer is live. Parts of pages go through
 * bounce pages.
 *
 *      MappedView    one view at addresses that the caller has reserved                 mapped-view.ts
 *      PinnedView    a MappedView, and the IOVA range that it is mapped at              here
 *      PinnedList    all elements of a list in one IOVA range; those whose edges
 *                    must be copied are MappedViews                                     pinned-list.ts
 */
import { DmaError } from '../../errors.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import { reserveOrThrow } from '../operations/operations.ts';
import { DMA_ATTR } from '../words/attributes.ts';
import { MappedView, type PinningContext } from './mapped-view.ts';

/** A view that is mapped in place, with an IOVA range of its own. */
export class PinnedView {
  /** Device address of the first byte. */
  readonly address: number;

  readonly #pinning: PinningContext;
  readonly #range: DeviceRange;
  readonly #placed: MappedView;

  /**
   * @param bits DEVICE_READS and DEVICE_WRITES
   * @param limit the highest address it may have
   * @param whole true if its granules hold no other bytes of the program, so that no edge has to be copied
   * @throws DmaError EPERM it would need a copy and must not · ENOMEM no address, no bounce page, or the limit of
   *   locked memory · ENOSPC · EFAULT · ENODEV; nothing is left behind
   */
  constructor(
    pinning: PinningContext,
    source: Uint8Array,
    bits: number,
    attributes: number,
    limit: number,
    whole: boolean,
  ) {
    const { operations } = pinning;
    const { granule } = operations;
    const size = source.length;
    const at = (operations.pageOffset(source.buffer) + source.byteOffset) % granule;
    const span = Math.ceil((at + size) / granule) * granule;
    const edges = size !== span && !whole;
    if (edges && (attributes & DMA_ATTR.REQUIRE_COHERENT) !== 0) throw unaligned(granule);
    this.#pinning = pinning;
    const range = reserveOrThrow(operations, span, limit);
    this.#range = range;
    try {
      this.#placed = new MappedView(pinning, source, range.address, at, bits, edges);
    } catch (error) {
      operations.unreserve(range);
      throw error;
    }
    this.address = this.#placed.address;
    if ((attributes & DMA_ATTR.SKIP_CPU_SYNC) === 0) this.#placed.clean(0, size);
  }

  /** True if some of the bytes are copied. */
  get hasEdges(): boolean {
    return this.#placed.hasEdges;
  }

  /** Let the caller read the device's writes to [offset, offset + size). False if the caller's buffer was detached. */
  syncForCpu(offset: number, size: number): boolean {
    return this.#placed.syncForCpu(offset, size);
  }

  /** Let the device read the caller's writes to [offset, offset + size). False if the caller's buffer was detached. */
  syncForDevice(offset: number, size: number): boolean {
    return this.#placed.syncForDevice(offset, size);
  }

  /**
   * Unmap the memory, then copy out the device's writes unless the attributes forbid it, and free the addresses.
   * False if the caller's buffer was detached.
   */
  finish(attributes: number): boolean {
    const intact = this.#placed.finish(attributes);
    this.#pinning.operations.unreserve(this.#range);
    return intact;
  }
}

function unaligned(granule: number): DmaError {
  return new DmaError('EPERM', 'the first or last page would have to be copied, and must not', {
    remedy: `align the memory to ${granule} bytes, or leave DMA_ATTR.REQUIRE_COHERENT out and sync`,
  });
}
