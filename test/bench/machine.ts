/** The simulated machine that rows without hardware run on, with a count of what it asks of its IOMMU. */
import { DmaDevice, type DmaDeviceOptions } from '../../lib/dma/device.ts';
import type { Access } from '../../lib/iommu/access.ts';
import type { AddressSpace, IovaRange } from '../../lib/iommu/address-space.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import type { MemorySource } from '../../lib/memory/source.ts';

/** Counts what would be a system call with hardware. */
export class CountingAddressSpace implements AddressSpace {
  readonly name: string;
  readonly pageSize: number;
  readonly ranges: readonly IovaRange[];
  readonly pinsForeignMemory: boolean;
  calls = 0;
  readonly #space: AddressSpace;

  constructor(space: AddressSpace) {
    this.#space = space;
    this.name = space.name;
    this.pageSize = space.pageSize;
    this.ranges = space.ranges;
    this.pinsForeignMemory = space.pinsForeignMemory;
  }

  pageOffset(buffer: ArrayBufferLike): number {
    return this.#space.pageOffset(buffer);
  }

  map(iova: number, buffer: ArrayBufferLike, offset: number, size: number, access: Access): void {
    this.calls++;
    this.#space.map(iova, buffer, offset, size, access);
  }

  unmap(iova: number, size: number): number {
    this.calls++;
    return this.#space.unmap(iova, size);
  }

  close(): void {
    this.#space.close();
  }
}

export interface Machine {
  readonly dma: DmaDevice;
  readonly space: CountingAddressSpace;
}

/** How mappings go. */
export type MachineOptions = Pick<DmaDeviceOptions, 'bounce' | 'copybreak' | 'copyMany'>;

export function machine(options: MachineOptions = {}, memory: MemorySource = new HeapMemory()): Machine {
  const space = new CountingAddressSpace(new SimulatedAddressSpace({ mappingLimit: 2 ** 24 }));
  const dma = new DmaDevice({ name: 'bench', memory, addressSpace: space, ...options });
  return { dma, space };
}
