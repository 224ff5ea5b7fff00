/**
 * Memory of a simulated machine without an IOMMU: the device uses the physical address of an allocation. The device
 * reaches all allocated memory, including that of other devices. Anywhere else it meets a fault. (On hardware it
 * would reach the rest of the machine.)
 */
import { checkSize } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import type { IovaRange } from '../iommu/address-space.ts';
import { IovaAllocator } from '../iommu/iova.ts';
import { trimRanges } from '../iommu/page-ranges.ts';
import type { SimulatedAddressSpace } from '../iommu/simulated.ts';
import type { AddressedMemory } from '../memory/addressed.ts';
import type { HeapMemory } from '../memory/heap.ts';
import type { Coherence } from '../memory/source.ts';

/** A PC with 19 GiB: 3 GiB below the hole for registers, without the first MiB, and 16 GiB above 4 GiB. */
export const PC_MEMORY: readonly IovaRange[] = [
  { start: 0x0010_0000, end: 0xbfff_ffff },
  { start: 0x1_0000_0000, end: 0x4_ffff_ffff },
];

export interface SimulatedPhysicalMemoryOptions {
  /** The source of the bytes. */
  readonly heap: HeapMemory;
  /** The memory that the device reaches. Its ranges are the ranges of physical memory. */
  readonly addressSpace: SimulatedAddressSpace;
}

/** A range of memory without a hole. */
interface Zone {
  readonly range: IovaRange;
  readonly addresses: IovaAllocator;
}

/** The place of an allocation. */
interface Place {
  readonly zone: Zone;
  readonly address: number;
  readonly span: number;
}

/** Memory of a simulated machine without an IOMMU, at physical addresses. */
export class SimulatedPhysicalMemory implements AddressedMemory {
  readonly name = 'physical';
  readonly pageSize: number;
  readonly ranges: readonly IovaRange[];
  readonly highest: number;
  readonly #heap: HeapMemory;
  readonly #space: SimulatedAddressSpace;
  /** Ordered by address, the highest first. */
  readonly #zones: readonly Zone[];
  readonly #places = new Map<ArrayBuffer, Place>();

  /** @throws DmaError EINVAL page size, or less than one page of memory */
  constructor({ heap, addressSpace }: SimulatedPhysicalMemoryOptions) {
    const { pageSize } = heap;
    const pages = trimRanges(addressSpace.ranges, pageSize);
    this.pageSize = pageSize;
    this.ranges = pages.map(({ start, end }) => ({ start, end: end - 1 }));
    this.#heap = heap;
    this.#space = addressSpace;
    this.#zones = this.ranges
      .map((range) => ({ range, addresses: new IovaAllocator([range], pageSize) }))
      .reverse();
    const [top] = this.#zones;
    if (top === undefined) {
      throw new DmaError('EINVAL', 'a machine without memory', { remedy: 'pass ranges with a page or more' });
    }
    this.highest = top.range.end;
  }

  addressOf(buffer: ArrayBuffer): number {
    return this.#place(buffer).address;
  }

  pageOffset(buffer: ArrayBufferLike): number {
    return this.#space.pageOffset(buffer);
  }

  /** Allocates from the top, so that a device with a narrow mask sees the same as on a machine with much memory. */
  allocate(size: number, coherence?: Coherence): ArrayBuffer {
    return this.allocateBelow(size, this.highest, coherence);
  }

  allocateBelow(size: number, limit: number, coherence?: Coherence): ArrayBuffer {
    checkSize(size, 'the size of an allocation');
    const place = this.#take(Math.ceil(size / this.pageSize) * this.pageSize, limit);
    try {
      const buffer = this.#heap.allocate(size, coherence);
      this.#space.map(place.address, buffer, 0, place.span, 'read-write');
      this.#places.set(buffer, place);
      return buffer;
    } catch (error) {
      this.#give(place);
      throw error;
    }
  }

  free(buffer: ArrayBuffer): void {
    const place = this.#place(buffer);
    const stolen = buffer.byteLength === 0;
    this.#places.delete(buffer);
    this.#space.unmap(place.address, place.span);
    this.#heap.free(buffer);
    if (!stolen) this.#give(place);
  }

  close(): void {
    this.#heap.close();
    this.#space.close();
    this.#places.clear();
  }

  #take(span: number, limit: number): Place {
    for (const zone of this.#zones) {
      const address = zone.addresses.alloc(span, limit);
      if (address >= 0) return { zone, address, span };
    }
    throw new DmaError(
      'ENOMEM',
      `no ${span} bytes of memory at or below address 0x${limit.toString(16)} are left`,
      {
        remedy: 'free something, or give the simulated machine more memory there',
      },
    );
  }

  #give({ zone, address, span }: Place): void {
    zone.addresses.free(address, span);
  }

  #place(buffer: ArrayBuffer): Place {
    const place = this.#places.get(buffer);
    if (place !== undefined) return place;
    throw new DmaError('EINVAL', 'not a live allocation of this memory', {
      remedy: 'free it once, where it came from',
    });
  }
}
