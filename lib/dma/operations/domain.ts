/**
 * An I/O address space and the parts that all devices in it share (struct iommu_domain):
 *
 *      space     the mappings, the same for every device of the domain
 *      iova      one allocator of addresses: no two devices get the same address
 *      memory    the source of memory
 *      own       memory that has an address already
 *
 * Masks, pools, mappings and dma-debug belong to each device. The last device that is closed closes the domain.
 */
import { closedError } from '../../errors.ts';
import type { AddressSpace, IovaRange } from '../../iommu/address-space.ts';
import { IovaAllocator, type IovaSource } from '../../iommu/iova.ts';
import type { MemorySource } from '../../memory/source.ts';
import { OwnMemory } from './own-memory.ts';
import type { Shrinker } from './shrinkers.ts';

/** A device, as its domain sees it. */
export interface DomainDevice {
  readonly name: string;
}

/** An IOMMU domain: one I/O address space, and the devices that share it. */
export class IommuDomain {
  /** @internal */
  readonly space: AddressSpace;
  /** @internal */
  readonly memory: MemorySource;
  /** @internal */
  readonly iova: IovaSource;
  /** @internal */
  readonly own: OwnMemory;
  /**
   * The shrinkers of all devices: one device may hold addresses that it does not use and that another one needs.
   * @internal
   */
  readonly shrinkers = new Set<Shrinker>();
  /** The smallest piece of memory that can be given to a device by itself, bytes, a power of two. */
  readonly granule: number;
  readonly #devices = new Set<DomainDevice>();
  #closed = false;

  /**
   * The domain owns `space` and `memory` from here on.
   * @param makeIova makes the allocator of addresses. Default: the kernel's order, which takes addresses below 4 GiB
   *   first
   * @internal
   */
  constructor(
    space: AddressSpace,
    memory: MemorySource,
    makeIova = (ranges: readonly IovaRange[], granule: number): IovaSource =>
      new IovaAllocator(ranges, granule),
  ) {
    this.space = space;
    this.memory = memory;
    // This is the larger of the two page sizes: a mapping must not expose a neighbour that shares the page.
    this.granule = Math.max(space.pageSize, memory.pageSize);
    this.iova = makeIova(space.ranges, this.granule);
    this.own = new OwnMemory(this.granule);
  }

  /** The devices, in the order in which they were attached. */
  get devices(): readonly DomainDevice[] {
    return [...this.#devices];
  }

  /** The way in which addresses are mapped, for people: `iommufd`, `type1` (VFIO's container) or `simulated`. */
  get name(): string {
    return this.space.name;
  }

  /** True once the last device of the domain was closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Attach a device: it sees all mappings of the domain (iommu_attach_device).
   * @throws DmaError ENODEV closed
   * @internal
   */
  attach(device: DomainDevice): void {
    if (this.#closed) throw closedError('the IOMMU domain');
    this.#devices.add(device);
  }

  /** Detach a device that has stopped (iommu_detach_device). The last one closes the domain. @internal */
  detach(device: DomainDevice): void {
    if (this.#devices.delete(device) && this.#devices.size === 0) this.close();
  }

  /** Unmap everything and release the memory. It is harmless to call this twice. @internal */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // The views end before the mappings do. Otherwise the driver could still write to memory that the device no
    // longer sees.
    this.memory.close();
    this.space.close();
  }
}
