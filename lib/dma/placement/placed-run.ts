/** A list in place: one run of device addresses, and in it the memory of every element, whole granules of each. */
import type { Access } from '../../iommu/access.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import { type DmaOperations, reserveOrThrow } from '../operations/operations.ts';
import { roundUp } from './segments.ts';

/** Memory of one element of a list. */
export interface PlacedElement {
  readonly buffer: ArrayBufferLike;
  /** Offset in the buffer of the element's first byte. */
  readonly offset: number;
  /** Where in its granule that byte lies. */
  readonly start: number;
  /** Bytes. */
  readonly length: number;
}

export class PlacedRun {
  /** Device address of the run. */
  readonly address: number;
  readonly #operations: DmaOperations;
  readonly #range: DeviceRange;

  /**
   * @param offsets where in the run each element's first byte goes
   * @param total bytes of the run, whole granules
   * @throws DmaError ENOMEM no address or locked memory · ENOSPC · EFAULT · ENODEV; nothing is left
   */
  constructor(
    operations: DmaOperations,
    elements: readonly PlacedElement[],
    offsets: Float64Array,
    total: number,
    limit: number,
    access: Access,
  ) {
    this.#operations = operations;
    const range = reserveOrThrow(operations, total, limit);
    this.#range = range;
    this.address = range.address;
    try {
      this.#placeAll(elements, offsets, access);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Take everything back from the device, and return the addresses. */
  release(): void {
    this.#operations.displace(this.address, this.#range.span);
    this.#operations.unreserve(this.#range);
  }

  /** Elements that continue each other in memory and in the run are one mapping: mappings are few and dear. */
  #placeAll(elements: readonly PlacedElement[], offsets: Float64Array, access: Access): void {
    const { granule } = this.#operations;
    for (let i = 0; i < elements.length; ) {
      const { buffer, offset, start, length } = elements[i]!;
      const at = offsets[i]! - start;
      const from = offset - start;
      let span = roundUp(start + length, granule);
      for (i++; i < elements.length; i++) {
        const next = elements[i]!;
        if (next.buffer !== buffer || next.offset - next.start !== from + span) break;
        if (offsets[i]! - next.start !== at + span) break;
        span += roundUp(next.start + next.length, granule);
      }
      this.#operations.place(this.address + at, buffer, from, span, access);
    }
  }
}
