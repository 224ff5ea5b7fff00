/**
 * How memory gets a device address. As in the kernel there are two ways. With an IOMMU the library chooses the
 * address (dma-iommu; iommu.ts). Without one the memory dictates it (dma-direct; direct.ts).
 */
import { DmaError } from '../../errors.ts';
import type { Access } from '../../iommu/access.ts';
import type { IovaRange, MmioWindow } from '../../iommu/address-space.ts';
import type { Coherence } from '../../memory/source.ts';
import type { DeviceRange } from './device-range.ts';
import type { IommuDomain } from './domain.ts';
import type { OwnMemory } from './own-memory.ts';
import type { Shrinker } from './shrinkers.ts';

export interface DmaOperations {
  /** The address space that the device shares with others. It is undefined without an IOMMU. */
  readonly domain: IommuDomain | undefined;

  /** The memory that has a device address already. */
  readonly own: OwnMemory;

  /** The shrinkers that are asked before an allocation or a reservation fails. */
  readonly shrinkers: Set<Shrinker>;

  /** The ranges of device addresses that exist, in ascending order. */
  readonly ranges: readonly IovaRange[];

  /** Bytes that the device could reach in all, without regard to the masks. */
  readonly capacity: number;

  /** The smallest piece of memory that can be given to the device by itself, bytes, a power of two. */
  readonly granule: number;

  /**
   * Neighbours in a list merge if they meet at a multiple of this + 1. They never merge if it is 0
   * (dma_get_merge_boundary).
   */
  readonly mergeBoundary: number;

  /** The mask that would reach all memory that this device may ever be given (dma_get_required_mask). */
  readonly requiredMask: bigint;

  /** True if memory can have an address at or below `limit` (dma_supported). The call changes nothing. */
  supports(limit: number): boolean;

  /** True if foreign memory can be given to the device in place: `reserve`, then `map`. */
  readonly pinsForeignMemory: boolean;

  /** True if registers of functions can be given to the device: `reserve`, then `mapWindow`. */
  readonly reachesRegisters: boolean;

  /** The offset in its granule of a buffer's first byte. @throws DmaError EINVAL detached or resizable */
  pageOffset(buffer: ArrayBufferLike): number;

  /**
   * Allocate zeroed memory in one buffer, naturally aligned on the bus, all of it at or below `limit`, or nothing.
   * The device may access the memory as `access` says, by default in every way. `coherence` is 'coherent' unless the
   * owner of the memory syncs it.
   * @throws DmaError ENOMEM, ENOSPC, ENODEV
   */
  allocate(size: number, limit: number, access?: Access, coherence?: Coherence): DeviceRange;

  /**
   * Allocate noncoherent memory that the device may read and write, in as few buffers as the memory source allows.
   * Otherwise it is as `allocate`.
   * @throws DmaError ENOMEM, ENOSPC, ENODEV
   */
  allocatePieces(size: number, limit: number): DeviceRange;

  /**
   * Unmap allocated memory, then end every view and recycle the memory. In this order a late access of the device
   * cannot reach memory that is used again.
   */
  release(range: DeviceRange): void;

  /**
   * Reserve a range of device addresses for memory that is not the device's own. `size` is a multiple of the granule.
   * The result is undefined if no range is free at or below `limit`. It is always undefined on direct operations,
   * where foreign memory has no address.
   */
  reserve(size: number, limit: number): DeviceRange | undefined;

  /** Map whole granules of a buffer at a reserved address. @throws DmaError as AddressSpace.map */
  map(address: number, buffer: ArrayBufferLike, offset: number, size: number, access: Access): void;

  /**
   * Map whole granules of a function's registers at a reserved address.
   * @throws DmaError as AddressSpace.mapWindow · EREMOTEIO where `reachesRegisters` is false
   */
  mapWindow(address: number, window: MmioWindow, offset: number, size: number, access: Access): void;

  /** Unmap everything in [address, address + size). */
  unmap(address: number, size: number): void;

  /** Free a range from `reserve`. The caller has unmapped it with `unmap` before. */
  unreserve(range: DeviceRange): void;

  /** The device is gone: allocations, reservations and mappings throw this error from here on. */
  abandon(error: DmaError): void;

  /** Release everything that the device holds. */
  close(): void;
}

/** Call `reserve`, and throw if it finds no range. @throws DmaError ENOMEM none is free · ENODEV the device is gone */
export function reserveOrThrow(operations: DmaOperations, size: number, limit: number): DeviceRange {
  const range = operations.reserve(size, limit);
  if (range !== undefined) return range;
  throw new DmaError('ENOMEM', `no room for ${size} bytes at or below address 0x${limit.toString(16)}`, {
    remedy: 'unmap or free something, or widen the DMA mask',
  });
}

/** The error for registers that the device cannot reach (the code is dma_map_sgtable's). */
export function unreachableRegisters(): DmaError {
  return new DmaError('EREMOTEIO', 'the device cannot be led to the registers of a function', {
    remedy: 'open both behind an IOMMU of the same kind, or let the data go through memory',
  });
}
