/**
 * A list in place: one run of device addresses, and in it the memory of every element, whole granules of each. Elements
 * that have a granule in common with bytes of somebody else have their edges copied (placed-view.ts).
 */
import { type Access, accessFor } from '../../iommu/access.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import { type DmaOperations, reserveOrThrow } from '../operations/operations.ts';
import { DMA_ATTR } from '../words/attributes.ts';
import { type Pinning, PlacedView } from './placed-view.ts';
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
  /** The element, when its edges must be copied. */
  readonly edged: Uint8Array | undefined;
}

export class PlacedRun {
  /** Device address of the run. */
  readonly address: number;
  readonly #operations: DmaOperations;
  readonly #range: DeviceRange;
  readonly #edged: PlacedView[] = [];

  /**
   * @param offsets where in the run each element's first byte goes
   * @param total bytes of the run, whole granules
   * @param bits DEVICE_READS and DEVICE_WRITES
   * @throws DmaError ENOMEM no address, bounce page or locked memory · ENOSPC · EFAULT · ENODEV; nothing is left
   */
  constructor(
    pinning: Pinning,
    elements: readonly PlacedElement[],
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
      this.#placeAll(elements, offsets, accessFor(bits));
      for (let i = 0; i < elements.length; i++) {
        const { edged, start } = elements[i]!;
        if (edged === undefined) continue;
        const at = this.address + offsets[i]! - start;
        this.#edged.push(new PlacedView(pinning, edged, at, start, bits, true));
      }
    } catch (error) {
      this.release(DMA_ATTR.SKIP_CPU_SYNC);
      throw error;
    }
  }

  /** Whether some of the bytes are copied. */
  get hasEdges(): boolean {
    return this.#edged.length > 0;
  }

  /** The edges to the CPU, and what is between them where caches are kept by hand. False when a buffer was detached. */
  syncForCpu(): boolean {
    let intact = true;
    for (const view of this.#edged) if (!view.syncForCpu(0, view.size)) intact = false;
    return intact;
  }

  /** The same for the device. */
  syncForDevice(): boolean {
    let intact = true;
    for (const view of this.#edged) if (!view.syncForDevice(0, view.size)) intact = false;
    return intact;
  }

  /** What is there was just mapped: caches are made right, and nothing is copied. */
  clean(): void {
    for (const view of this.#edged) view.clean(0, view.size);
  }

  /**
   * Take everything back from the device, copy the edges out unless the attributes forbid it, and return the addresses.
   * False when a buffer was detached meanwhile.
   */
  release(attributes: number): boolean {
    let intact = true;
    for (const view of this.#edged) if (!view.finish(attributes)) intact = false;
    this.#displaceAll();
    return intact;
  }

  #displaceAll(): void {
    this.#operations.displace(this.address, this.#range.span);
    this.#operations.unreserve(this.#range);
  }

  /** Elements that continue each other in memory and in the run are one mapping: mappings are few and dear. */
  #placeAll(elements: readonly PlacedElement[], offsets: Float64Array, access: Access): void {
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
      this.#operations.place(this.address + at, buffer, from, span, access);
    }
  }
}
