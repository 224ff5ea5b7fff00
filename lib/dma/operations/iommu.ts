/**
 * Operations behind an IOMMU: memory comes from anywhere, and we choose the address it has for the device
 * (drivers/iommu/dma-iommu.c). Every allocation is mapped by itself and unmapped when released, so that a stale
 * descriptor hits nothing.
 *
 * Addresses and memory are the domain's, which other devices may be in: what this one was given is kept account of, so
 * that it can be taken back when the device is closed and the others go on.
 */
import { DmaError } from '../../errors.ts';
import type { Access } from '../../iommu/access.ts';
import { type AddressSpace, bytesIn, type IovaRange, type MmioWindow } from '../../iommu/address-space.ts';
import type { IovaAllocator } from '../../iommu/iova.ts';
import type { Coherence, MemorySource } from '../../memory/source.ts';
import { DEFAULT_MASK } from '../words/mask.ts';
import type { IommuDomain } from './domain.ts';
import {
  type Allocation,
  type DmaOperations,
  type PiecewiseAllocation,
  unreachableRegisters,
} from './operations.ts';
import type { OwnMemory } from './own-memory.ts';

/** Half pieces are tried, and halves of those, down to one that makes so many: a container has few mappings. */
const MOST_PIECES = 64;

export class IommuOperations implements DmaOperations {
  /** dma-iommu asks for 32 bits: the IOMMU reaches all memory with them. */
  readonly requiredMask = DEFAULT_MASK;
  readonly domain: IommuDomain;
  readonly own: OwnMemory;
  readonly granule: number;
  readonly mergeBoundary: number;

  readonly #space: AddressSpace;
  readonly #memory: MemorySource;
  readonly #iova: IovaAllocator;
  /** Bytes of each run of addresses that this device holds, by its first. */
  readonly #runs = new Map<number, number>();
  /** The memory at those of them that are ours. */
  readonly #buffers = new Map<number, readonly ArrayBuffer[]>();
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

  get ranges(): readonly IovaRange[] {
    return this.#space.ranges;
  }

  get capacity(): number {
    return bytesIn(this.ranges);
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

  allocate(size: number, limit: number, access: Access = 'read-write', coherence?: Coherence): Allocation {
    const span = Math.ceil(size / this.granule) * this.granule;
    const address = this.#addressFor(span, limit);
    let buffer: ArrayBuffer | undefined;
    try {
      buffer = this.#memory.allocate(size, coherence);
      this.place(address, buffer, 0, span, access);
      this.#buffers.set(address, [buffer]);
      return { buffer, address, span };
    } catch (error) {
      if (buffer !== undefined) this.#memory.free(buffer);
      this.unreserve(address, span);
      throw error;
    }
  }

  release({ buffer, address, span }: Allocation): void {
    this.displace(address, span);
    this.#buffers.delete(address);
    this.#memory.free(buffer);
    this.unreserve(address, span);
  }

  allocatePieces(size: number, limit: number): PiecewiseAllocation {
    const span = Math.ceil(size / this.granule) * this.granule;
    const address = this.#addressFor(span, limit);
    const shortest = Math.ceil(size / MOST_PIECES / this.granule) * this.granule;
    const buffers: ArrayBuffer[] = [];
    try {
      let longest = size;
      for (let done = 0; done < size; ) {
        const buffer = this.#takePiece(Math.min(longest, size - done), shortest);
        buffers.push(buffer);
        longest = buffer.byteLength;
        const length = Math.ceil(longest / this.granule) * this.granule;
        this.place(address + done, buffer, 0, length, 'read-write');
        done += longest;
      }
      this.#buffers.set(address, buffers);
      return { buffers, address, span };
    } catch (error) {
      this.releasePieces({ buffers, address, span });
      throw error;
    }
  }

  releasePieces({ buffers, address, span }: PiecewiseAllocation): void {
    this.displace(address, span);
    this.#buffers.delete(address);
    for (const buffer of buffers) this.#memory.free(buffer);
    this.unreserve(address, span);
  }

  reserve(size: number, limit: number): number {
    if (this.#gone !== undefined) throw this.#gone;
    const address = this.#iova.alloc(size, limit);
    if (address >= 0) this.#runs.set(address, size);
    return address;
  }

  place(address: number, buffer: ArrayBufferLike, offset: number, size: number, access: Access): void {
    if (this.#gone !== undefined) throw this.#gone;
    this.#space.map(address, buffer, offset, size, access);
  }

  placeWindow(address: number, window: MmioWindow, offset: number, size: number, access: Access): void {
    if (this.#gone !== undefined) throw this.#gone;
    if (this.#space.mapWindow === undefined) throw unreachableRegisters();
    this.#space.mapWindow(address, window, offset, size, access);
  }

  displace(address: number, size: number): void {
    this.#space.unmap(address, size);
  }

  unreserve(address: number, size: number): void {
    this.#runs.delete(address);
    this.#iova.free(address, size);
  }

  /** @throws DmaError ENOMEM */
  #addressFor(span: number, limit: number): number {
    const address = this.reserve(span, limit);
    if (address >= 0) return address;
    throw new DmaError('ENOMEM', `no room for ${span} bytes at or below address 0x${limit.toString(16)}`, {
      remedy: `free something (${this.#iova.used} bytes of addresses are in use) or widen the DMA mask`,
    });
  }

  /** `size` bytes, or half of that, and so on while it is no shorter than `shortest`. */
  #takePiece(size: number, shortest: number): ArrayBuffer {
    for (let piece = size; ; ) {
      try {
        return this.#memory.allocate(piece, 'noncoherent');
      } catch (error) {
        if (!(error instanceof DmaError) || error.code !== 'ENOMEM' || piece <= shortest) throw error;
        piece = Math.max(shortest, Math.ceil(piece / 2 / this.granule) * this.granule);
      }
    }
  }

  abandon(error: DmaError): void {
    this.#gone = error;
  }

  /** Where the domain is closed too, that has taken back everything. */
  close(): void {
    if (this.domain.closed) return;
    for (const [address, size] of this.#runs) {
      const buffers = this.#buffers.get(address) ?? [];
      for (const buffer of buffers) this.own.forget(buffer);
      this.releasePieces({ buffers, address, span: size });
    }
  }
}
