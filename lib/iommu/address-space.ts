/**
 * The AddressSpace seam: the memory that a device sees when it puts an address on the bus.
 *
 *      type1        a VFIO container, the kernel's IOMMU driver behind it
 *      iommufd      an IOAS of /dev/iommu
 *      simulated    page tables in TypeScript, with faults that a program can read
 *
 * An address space maps and unmaps at the address that the caller gives. The code above it chooses the IOVA
 * (lib/iommu/iova.ts). I/O virtual addresses (IOVA) are plain numbers below 2^53 here; the public surface makes them
 * bigint.
 */

import { argumentError, checkMethods } from '../arguments.ts';
import { checkPageSize } from '../page-size.ts';
import type { Access } from './access.ts';

/** A range of usable IOVA, both ends inclusive. */
export interface IovaRange {
  readonly start: number;
  readonly end: number;
}

/** The number of addresses in the ranges. */
export function totalBytes(ranges: readonly IovaRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start + 1, 0);
}

/**
 * Registers of a function, as a region to which an IOMMU can lead the DMA of another function. The type is opaque:
 * only an address space of the same world as the function knows what is behind it. The registers start on a page
 * boundary.
 */
export interface MmioWindow {
  /** Bytes. */
  readonly size: number;
  /** The parts that belong to the host. No device is led there. Default: none. */
  readonly reserved?: readonly ReservedBytes[];
}

/** Bytes [start, end) of registers that belong to the host, e.g. an MSI-X table. */
export interface ReservedBytes {
  readonly start: number;
  readonly end: number;
  /** True if the driver may at least read them. */
  readonly readable: boolean;
}

/** What a device sees of memory: maps ranges of IOVAs to memory (struct iommu_domain). */
export interface AddressSpace {
  /** Short name for people: `type1`, `iommufd`, `simulated`. */
  readonly name: string;

  /** Smallest IOMMU page, bytes, a power of two. */
  readonly pageSize: number;

  /** Usable addresses, ascending, disjoint, all below 2^53. Reserved ones (MSI, host bridge) are already removed. */
  readonly ranges: readonly IovaRange[];

  /**
   * True if `map` accepts memory that came from no MemorySource. Such memory must be safe even if its buffer is
   * detached, transferred or collected before `unmap`: the space keeps the pages alive, or takes them out of the
   * device's reach.
   */
  readonly pinsForeignMemory: boolean;

  /**
   * The offset of a buffer's first byte in its page, 0 to `pageSize` - 1. It is 0 for buffers of a MemorySource. V8's
   * own buffers are not page-aligned. @throws DmaError EINVAL detached or resizable
   */
  pageOffset(buffer: ArrayBufferLike): number;

  /**
   * Let the device reach `buffer` bytes [offset, offset + size) at [iova, iova + size). `iova`, `size` and
   * `pageOffset(buffer) + offset` are multiples of `pageSize`. `size` may run past the end of the buffer only into
   * the rest of its last page, and only if the buffer came from a MemorySource. The space keeps a reference to the
   * buffer until `unmap`.
   * @throws DmaError EEXIST overlap · EINVAL misaligned, size 0, outside `ranges` · ENOSPC no mappings left · ENOMEM
   *   locked-memory limit · EFAULT memory that cannot be pinned · ENODEV closed
   */
  map(iova: number, buffer: ArrayBufferLike, offset: number, size: number, access: Access): void;

  /**
   * Let the device reach bytes [offset, offset + size) of a function's registers at [iova, iova + size). All of them
   * are multiples of `pageSize`. The method is absent if this kind of space cannot map registers. The registers stay
   * mapped until `unmap`, even if their function is closed meanwhile.
   * @throws DmaError EREMOTEIO a window of another world · EINVAL not inside the window, or a part of it is not
   *   registers · EFAULT the registers do not answer (memory decode is off) · ENODEV closed, or the window's function
   *   is · otherwise as `map`
   */
  mapWindow?(iova: number, window: MmioWindow, offset: number, size: number, access: Access): void;

  /**
   * Remove every mapping inside [iova, iova + size). Returns the number of bytes removed, 0 if there was no mapping.
   * @throws DmaError EINVAL if the range would cut a mapping in two · ENODEV closed
   */
  unmap(iova: number, size: number): number;

  /** Unmap everything and release the space. Calling it twice is harmless. */
  close(): void;
}

/** Throws DmaError EINVAL if the value is not an address space. */
export function checkAddressSpace(space: unknown, what: string): void {
  const remedy = 'pass an address space, or leave it out for memory with device addresses';
  checkMethods(space, what, ['map', 'unmap', 'close'], remedy);
  checkPageSize((space as AddressSpace).pageSize, `pageSize of ${what}`);
  if (!Array.isArray((space as AddressSpace).ranges)) throw argumentError(`ranges of ${what}`, space, remedy);
}
