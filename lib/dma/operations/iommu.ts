/**
 * Operations behind an IOMMU. The memory comes from anywhere, and the library chooses its device address
 * (drivers/iommu/dma-iommu.c). Every allocation is mapped by itself and unmapped when released, so that a stale
 * descriptor hits nothing.
 *
 * Addresses and memory belong to the domain, which other devices may share. This class records the ranges of its own
 * device, so that it can free them when the device is closed while the other devices go on.
 */
import type { DmaError } from '../../errors.ts';
import type { Access } from '../../iommu/access.ts';
import { type AddressSpace, type IovaRange, type MmioWindow, totalBytes } from '../../iommu/address-space.ts';
import type { IovaSource } from '../../iommu/iova.ts';
import type { Coherence, MemorySource } from '../../memory/source.ts';
import { LiveList } from '../words/live-list.ts';
import { DEFAULT_MASK } from '../words/mask.ts';
import { DeviceRange } from './device-range.ts';
import type { IommuDomain } from './domain.ts';
import { type DmaOperations, reserveOrThrow, unreachableRegisters } from './operations.ts';
import type { OwnMemory } from './own-memory.ts';
import { isNoMemory, type Shrinker, shrinkAll, withShrinking } from './shrinkers.ts';

/**
 * The most pieces of an allocation. If a piece cannot be allocated, half of it is tried, and so on down to the piece
 * size that gives this many pieces. A VFIO container allows only a limited number of mappings.
 */
const MOST_PIECES = 64;

/** Operations of a device behind an IOMMU: a device address is an IOVA. */
export class IommuOperations implements DmaOperations {
  /** dma-iommu asks for 32 bits: the IOMMU reaches all memory with them. */
  readonly requiredMask = DEFAULT_MASK;
  readonly domain: IommuDomain;
  readonly own: OwnMemory;
  readonly granule: number;
  readonly mergeBoundary: number;

  readonly #space: AddressSpace;
  readonly #memory: MemorySource;
  readonly #iova: IovaSource;
  /** The ranges of the domain's addresses that this device holds. */
  readonly #ranges = new LiveList<DeviceRange>();
  #gone: DmaError | undefined;

  constructor(domain: IommuDomain) {
    this.domain = domain;
    this.own = domain.own;
    this.granule = domain.granule;
    this.mergeBoundary = domain.space.pageSize - 1;
    this.#space = domain.space;
    this.#memory = domain.memory;
    this.#iova = domain.iova;
  }

  get shrinkers(): Set<Shrinker> {
    return this.domain.shrinkers;
  }

  get ranges(): readonly IovaRange[] {
    return this.#space.ranges;
  }

  get capacity(): number {
    return totalBytes(this.ranges);
  }

  supports(limit: number): boolean {
    return this.#iova.supports(limit);
  }

  get pinsForeignMemory(): boolean {
    return this.#space.pinsForeignMemory;
  }

  get reachesRegisters(): boolean {
    return this.#space.mapWindow !== undefined;
  }

  pageOffset(buffer: ArrayBufferLike): number {
    return this.#space.pageOffset(buffer);
  }

  allocate(size: number, limit: number, access: Access = 'read-write', coherence?: Coherence): DeviceRange {
    const range = this.#rangeFor(size, limit);
    try {
      const buffer = this.#takeMemory(size, coherence);
      range.buffers = [buffer];
      this.map(range.address, buffer, 0, range.span, access);
      return range;
    } catch (error) {
      this.#giveBack(range);
      throw error;
    }
  }

  allocatePieces(size: number, limit: number): DeviceRange {
    const range = this.#rangeFor(size, limit);
    const shortest = Math.ceil(size / MOST_PIECES / this.granule) * this.granule;
    const buffers: ArrayBuffer[] = [];
    range.buffers = buffers;
    try {
      let longest = size;
      for (let done = 0; done < size; ) {
        const buffer = this.#takePiece(Math.min(longest, size - done), shortest);
        buffers.push(buffer);
        longest = buffer.byteLength;
        const length = Math.ceil(longest / this.granule) * this.granule;
        this.map(range.address + done, buffer, 0, length, 'read-write');
        done += longest;
      }
      return range;
    } catch (error) {
      this.release(range);
      throw error;
    }
  }

  release(range: DeviceRange): void {
    this.unmap(range.address, range.span);
    this.#giveBack(range);
  }

  reserve(size: number, limit: number): DeviceRange | undefined {
    if (this.#gone !== undefined) throw this.#gone;
    let address = this.#iova.alloc(size, limit);
    if (address < 0 && shrinkAll(this.shrinkers)) address = this.#iova.alloc(size, limit);
    if (address < 0) return undefined;
    const range = new DeviceRange(address, size);
    this.#ranges.add(range);
    return range;
  }

  map(address: number, buffer: ArrayBufferLike, offset: number, size: number, access: Access): void {
    if (this.#gone !== undefined) throw this.#gone;
    this.#space.map(address, buffer, offset, size, access);
  }

  mapWindow(address: number, window: MmioWindow, offset: number, size: number, access: Access): void {
    if (this.#gone !== undefined) throw this.#gone;
    if (this.#space.mapWindow === undefined) throw unreachableRegisters();
    this.#space.mapWindow(address, window, offset, size, access);
  }

  unmap(address: number, size: number): void {
    this.#space.unmap(address, size);
  }

  unreserve(range: DeviceRange): void {
    this.#ranges.remove(range);
    this.#iova.free(range.address, range.span);
  }

  /** Free the memory and the addresses of a range that is unmapped. */
  #giveBack(range: DeviceRange): void {
    for (const buffer of range.buffers) this.#memory.free(buffer);
    this.unreserve(range);
  }

  /** @throws DmaError ENOMEM */
  #rangeFor(size: number, limit: number): DeviceRange {
    const span = Math.ceil(size / this.granule) * this.granule;
    return reserveOrThrow(this, span, limit);
  }

  #takeMemory(size: number, coherence: Coherence | undefined): ArrayBuffer {
    return withShrinking(this.shrinkers, () => this.#memory.allocate(size, coherence));
  }

  /** Allocate `size` bytes. If that fails, try half as many, and so on, but never fewer than `shortest`. */
  #takePiece(size: number, shortest: number): ArrayBuffer {
    for (let piece = size; ; ) {
      try {
        return this.#takeMemory(piece, 'noncoherent');
      } catch (error) {
        if (!isNoMemory(error) || piece <= shortest) throw error;
        piece = Math.max(shortest, Math.ceil(piece / 2 / this.granule) * this.granule);
      }
    }
  }

  abandon(error: DmaError): void {
    this.#gone = error;
  }

  /** Release the ranges of the device. If the domain is closed too, it has freed everything already. */
  close(): void {
    if (this.domain.closed) return;
    for (const range of [...this.#ranges]) {
      for (const buffer of range.buffers) this.own.forget(buffer);
      this.release(range);
    }
  }
}
