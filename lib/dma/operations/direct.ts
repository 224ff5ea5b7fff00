/**
 * Operations without an IOMMU: the memory dictates the address (kernel/dma/direct.c), and nothing stands between the
 * device and memory that it was not given. Memory from elsewhere has no address, so that it is always bounced.
 */
import { DmaError } from '../../errors.ts';
import type { Access } from '../../iommu/access.ts';
import { type IovaRange, totalBytes } from '../../iommu/address-space.ts';
import type { AddressedMemory } from '../../memory/addressed.ts';
import type { Coherence } from '../../memory/source.ts';
import { dmaBitMask } from '../words/mask.ts';
import { DeviceRange } from './device-range.ts';
import { type DmaOperations, unreachableRegisters } from './operations.ts';
import { OwnMemory } from './own-memory.ts';
import { type Shrinker, withShrinking } from './shrinkers.ts';

/** Operations of a device without an IOMMU: a device address is a physical address. */
export class DirectOperations implements DmaOperations {
  readonly domain = undefined;
  readonly own: OwnMemory;
  readonly shrinkers = new Set<Shrinker>();
  readonly granule: number;
  /** Neighbours in memory stay neighbours for the device, but the kernel does not merge them here. */
  readonly mergeBoundary = 0;
  readonly pinsForeignMemory = false;
  /** The address that a function's registers have on the bus is not told to user space. */
  readonly reachesRegisters = false;
  readonly #memory: AddressedMemory;
  #gone: DmaError | undefined;

  constructor(memory: AddressedMemory) {
    this.#memory = memory;
    this.granule = memory.pageSize;
    this.own = new OwnMemory(memory.pageSize);
  }

  get ranges(): readonly IovaRange[] {
    return this.#memory.ranges;
  }

  get capacity(): number {
    return this.#memory.capacity ?? totalBytes(this.ranges);
  }

  /** All ones, up to the highest address of memory (dma_direct_get_required_mask). */
  get requiredMask(): bigint {
    return dmaBitMask(this.#memory.highest.toString(2).length);
  }

  /**
   * Whether a page of memory lies at or below `limit`. The kernel asks that only below 32 bits and takes every wider
   * mask (dma_direct_supported), because it has a zone of low memory and swiotlb to fall back on; here there is only
   * the memory source, and a device that reaches none of it cannot be used.
   */
  supports(limit: number): boolean {
    return this.#memory.ranges.some(({ start }) => start + this.granule - 1 <= limit);
  }

  /** The memory source may know the page offset of foreign buffers; its own allocations start on a page. */
  pageOffset(buffer: ArrayBufferLike): number {
    return this.#memory.pageOffset?.(buffer) ?? 0;
  }

  /** Without an IOMMU the device may do what it likes, whatever `access` says. */
  allocate(size: number, limit: number, _access?: Access, coherence?: Coherence): DeviceRange {
    if (this.#gone !== undefined) throw this.#gone;
    const buffer = withShrinking(this.shrinkers, () => this.#memory.allocateBelow(size, limit, coherence));
    const span = Math.ceil(size / this.granule) * this.granule;
    return new DeviceRange(this.#memory.addressOf(buffer), span, [buffer]);
  }

  /** One piece: what is not contiguous in memory is not contiguous for the device. */
  allocatePieces(size: number, limit: number): DeviceRange {
    return this.allocate(size, limit, 'read-write', 'noncoherent');
  }

  release({ buffers }: DeviceRange): void {
    for (const buffer of buffers) this.#memory.free(buffer);
  }

  /** Undefined: there are no addresses to choose from. */
  reserve(_size: number, _limit: number): undefined {}

  /** @throws DmaError EOPNOTSUPP */
  map(): void {
    throw withoutIommu();
  }

  /** @throws DmaError EREMOTEIO */
  mapWindow(): void {
    throw unreachableRegisters();
  }

  /** @throws DmaError EOPNOTSUPP */
  unmap(): void {
    throw withoutIommu();
  }

  /** @throws DmaError EOPNOTSUPP */
  unreserve(): void {
    throw withoutIommu();
  }

  abandon(error: DmaError): void {
    this.#gone = error;
  }

  close(): void {
    this.#memory.close();
  }
}

function withoutIommu(): DmaError {
  return new DmaError('EOPNOTSUPP', 'without an IOMMU no memory can be given an address', {
    remedy: 'use memory of the device, which has one',
  });
}
