/**
 * Foreign memory that the device reaches in place, at addresses of its own: each mapping has its addresses and pins
 * its pages, also of the same buffer. What is not whole pages of it goes through bounce pages (placed-view.ts).
 */
import { DmaError } from '../../errors.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import { reserveOrThrow } from '../operations/operations.ts';
import { DMA_ATTR } from '../words/attributes.ts';
import { type Pinning, PlacedView } from './placed-view.ts';

export class PinnedRun {
  /** Device address of the first byte. */
  readonly address: number;

  readonly #pinning: Pinning;
  readonly #range: DeviceRange;
  readonly #placed: PlacedView;

  /**
   * @param bits DEVICE_READS and DEVICE_WRITES @param limit highest address it may have
   * @param whole the granules it is in hold nothing of anybody else's: no edge is copied
   * @throws DmaError EPERM it would need a copy and must not · ENOMEM no address, no bounce page, or the limit of
   *   locked memory · ENOSPC · EFAULT · ENODEV; nothing is left behind
   */
  constructor(
    pinning: Pinning,
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
      this.#placed = new PlacedView(pinning, source, range.address, at, bits, edges);
    } catch (error) {
      operations.unreserve(range);
      throw error;
    }
    this.address = this.#placed.address;
    if ((attributes & DMA_ATTR.SKIP_CPU_SYNC) === 0) this.#placed.clean(0, size);
  }

  /** Whether some of the bytes are copied. */
  get hasEdges(): boolean {
    return this.#placed.hasEdges;
  }

  /** What the device wrote to [offset, offset + size) is the caller's. False when the caller's buffer was detached. */
  syncForCpu(offset: number, size: number): boolean {
    return this.#placed.syncForCpu(offset, size);
  }

  /** What the caller wrote to [offset, offset + size) is the device's. False when the caller's buffer was detached. */
  syncForDevice(offset: number, size: number): boolean {
    return this.#placed.syncForDevice(offset, size);
  }

  /**
   * Take everything back from the device, then copy out what it wrote unless the attributes forbid it, and return the
   * addresses. False when the caller's buffer was detached.
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
