/**
 * Operations without an IOMMU. The memory dictates the address (kernel/dma/direct.c), and nothing protects the memory
 * that the device was not given. Foreign memory has no address, so it is always bounced.
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
  /** The kernel does not tell user space the bus address of a function's registers. */
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

  /** All ones, up to the highest address of the memory (dma_direct_get_required_mask). */
  get requiredMask(): bigint {
    return dmaBitMask(this.#memory.highest.toString(2).length);
  }

  /**
   * True if a page of memory lies at or below `limit`. The kernel asks this for masks below 32 bits only, and accepts
   * every wider mask (dma_direct_supported), because it can fall back on a zone of low memory and on swiotlb. Here
   * there is only the memory source, and a device that reaches none of it cannot be used.
   */
  supports(limit: number): boolean {
    return this.#memory.ranges.some(({ start }) => start + this.granule - 1 <= limit);
  }

  /** The memory source may know the page offset of foreign buffers. Its own allocations start on a page. */
  pageOffset(buffer: ArrayBufferLike): number {
    return this.#memory.pageOffset?.(buffer) ?? 0;
  }

  /** Without an IOMMU nothing restricts the device, so `access` has no effect. */
  allocate(size: number, limit: number, _access?: Access, coherence?: Coherence): DeviceRange {
    if (this.#gone !== undefined) throw this.#gone;
    const buffer = withShrinking(this.shrinkers, () => this.#memory.allocateBelow(size, limit, coherence));
    const span = Math.ceil(size / this.granule) * this.granule;
    return new DeviceRange(this.#memory.addressOf(buffer), span, [buffer]);
  }

  /** The memory has one piece: pieces that are not contiguous in memory are not contiguous for the device. */
  allocatePieces(size: number, limit: number): DeviceRange {
    return this.allocate(size, limit, 'read-write', 'noncoherent');
  }

  release({ buffers }: DeviceRange): void {
    for (const buffer of buffers) this.#memory.free(buffer);
  }

  /** The result is always undefined: there are no addresses to choose from. */
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
