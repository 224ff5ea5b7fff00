/**
 * A list that the device reaches in place: the way 'pinned' of `mapSg`. One IOVA range holds the memory of every
 * element, in whole granules. If a granule of an element may also hold other bytes of the program, the element's
 * edges are copied (mapped-view.ts).
 */
import { type Access, accessFor } from '../../iommu/access.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import { type DmaOperations, reserveOrThrow } from '../operations/operations.ts';
import { DMA_ATTR } from '../words/attributes.ts';
import { MappedView, type PinningContext } from './mapped-view.ts';
import { roundUp } from './segments.ts';

/** The memory of one element of a list. */
export interface PinnedElement {
  readonly buffer: ArrayBufferLike;
  /** The offset in the buffer of the element's first byte. */
  readonly offset: number;
  /** The offset of that byte in its granule. */
  readonly start: number;
  /** Bytes. */
  readonly length: number;
  /** The element, if its edges must be copied. */
  readonly edged: Uint8Array | undefined;
}

/** A list that is mapped in place, with one IOVA range for all of its elements. */
export class PinnedList {
  /** Device address of the IOVA range. */
  readonly address: number;
  readonly #operations: DmaOperations;
  readonly #range: DeviceRange;
  readonly #edged: MappedView[] = [];

  /**
   * @param offsets the offset in the IOVA range of each element's first byte
   * @param total bytes of the IOVA range, whole granules
   * @param bits DEVICE_READS and DEVICE_WRITES
   * @throws DmaError ENOMEM no address, bounce page or locked memory · ENOSPC · EFAULT · ENODEV; nothing is left
   *   behind
   */
  constructor(
    pinning: PinningContext,
    elements: readonly PinnedElement[],
    offsets: Float64Array,
    total: number,
    limit: number,
    bits: number,
  ) {
    const { operations } = pinning;
    this.#operations = operations;
    const range = reserveOrThrow(operations, total, limit);
    this.#range = range;
    this.address = range.address;
    try {
      this.#mapAll(elements, offsets, accessFor(bits));
      for (let i = 0; i < elements.length; i++) {
        const { edged, start } = elements[i]!;
        if (edged === undefined) continue;
        const at = this.address + offsets[i]! - start;
        this.#edged.push(new MappedView(pinning, edged, at, start, bits, true));
      }
    } catch (error) {
      this.release(DMA_ATTR.SKIP_CPU_SYNC);
      throw error;
    }
  }

  /** True if some of the bytes are copied. */
  get hasEdges(): boolean {
    return this.#edged.length > 0;
  }

  /**
   * Let the CPU read the device's writes. This copies the edges, and maintains the caches between them on a device
   * that is not coherent. False if a buffer was detached.
   */
  syncForCpu(): boolean {
    let intact = true;
    for (const view of this.#edged) if (!view.syncForCpu(0, view.size)) intact = false;
    return intact;
  }

  /** Let the device read the CPU's writes to those bytes. False if a buffer was detached. */
  syncForDevice(): boolean {
    let intact = true;
    for (const view of this.#edged) if (!view.syncForDevice(0, view.size)) intact = false;
    return intact;
  }

  /** Write back the caches of memory that was just mapped. Nothing is copied. */
  clean(): void {
    for (const view of this.#edged) view.clean(0, view.size);
  }

  /**
   * Unmap the memory, copy the edges out unless the attributes forbid it, and free the addresses. False if a buffer
   * was detached while it was mapped.
   */
  release(attributes: number): boolean {
    let intact = true;
    for (const view of this.#edged) if (!view.finish(attributes)) intact = false;
    this.#unmapAll();
    return intact;
  }

  #unmapAll(): void {
    this.#operations.unmap(this.address, this.#range.span);
    this.#operations.unreserve(this.#range);
  }

  /**
   * Elements that are neighbours both in memory and in the IOVA range become one mapping: mappings are expensive, and
   * their number is limited.
   */
  #mapAll(elements: readonly PinnedElement[], offsets: Float64Array, access: Access): void {
    const { granule } = this.#operations;
    for (let i = 0; i < elements.length; ) {
      const { buffer, offset, start, length, edged } = elements[i]!;
      if (edged !== undefined) {
        i++;
        continue;
      }
      const at = offsets[i]! - start;
      const from = offset - start;
      let span = roundUp(start + length, granule);
      for (i++; i < elements.length; i++) {
        const next = elements[i]!;
        if (next.edged !== undefined || next.buffer !== buffer || next.offset - next.start !== from + span)
          break;
        if (offsets[i]! - next.start !== at + span) break;
        span += roundUp(next.start + next.length, granule);
      }
      this.#operations.map(this.address + at, buffer, from, span, access);
    }
  }
}
