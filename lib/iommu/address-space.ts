/**
 * The AddressSpace seam: what a device sees when it puts an address on the bus.
 *
 *      type1        a VFIO container, the kernel's IOMMU driver behind it
 *      simulated    page tables in TypeScript, with faults one can read
 *
 * It maps and unmaps where it is told; which IOVA to use is decided above it (lib/iommu/iova.ts). I/O virtual
 * addresses (IOVA) are plain numbers below 2^53 here; they become bigint at the public surface.
 */

import { argumentError, checkMethods } from '../arguments.ts';
import { checkPageSize } from '../page-size.ts';
import type { Access } from './access.ts';

/** A range of usable IOVA, both ends inclusive. */
export interface IovaRange {
  readonly start: number;
  readonly end: number;
}

/** How many addresses there are. */
export function totalBytes(ranges: readonly IovaRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start + 1, 0);
}

/**
 * Registers of a function, as something that the DMA of a function can be led to. Opaque: only an address space of
 * the same world as the function knows what is behind it. They start on a page.
 */
export interface MmioWindow {
  /** Bytes. */
  readonly size: number;
  /** Parts that are the host's: no device is led there. Default: none. */
  readonly reserved?: readonly ReservedBytes[];
}

/** Bytes [start, end) of registers that belong to the host, such as an MSI-X table. */
export interface ReservedBytes {
  readonly start: number;
  readonly end: number;
  /** Whether they may be read at least. */
  readonly readable: boolean;
}

export interface AddressSpace {
  /** Short name for people: `type1`, `simulated`. */
  readonly name: string;

  /** Smallest IOMMU page, bytes, a power of two. */
  readonly pageSize: number;

  /** Usable addresses, ascending, disjoint, all below 2^53; reserved ones (MSI, host bridge) are already taken out. */
  readonly ranges: readonly IovaRange[];

  /**
   * Whether `map` takes memory that came from no MemorySource and keeps its pages alive by itself until `unmap`,
   * or puts them out of the device's reach, even when the buffer is detached, transferred or collected meanwhile.
   */
  readonly pinsForeignMemory: boolean;

  /**
   * Where in its page the first byte of a buffer lies, 0 to `pageSize` - 1. 0 for buffers of a MemorySource; V8's
   * own are not page-aligned. @throws DmaError EINVAL detached or resizable
   */
  pageOffset(buffer: ArrayBufferLike): number;

  /**
   * Let the device reach `buffer` bytes [offset, offset + size) at [iova, iova + size). `iova`, `size` and
   * `pageOffset(buffer) + offset` are multiples of `pageSize`; `size` may run past the end of the buffer only into the
   * rest of its last page, when it came from a MemorySource. The space keeps a reference to the buffer until `unmap`.
   * @throws DmaError EEXIST overlap · EINVAL misaligned, size 0, outside `ranges` · ENOSPC no mappings left ·
   *   ENOMEM locked-memory limit · EFAULT memory that cannot be pinned · ENODEV closed
   */
  map(iova: number, buffer: ArrayBufferLike, offset: number, size: number, access: Access): void;

  /**
   * Let the device reach bytes [offset, offset + size) of a function's registers at [iova, iova + size), all of them
   * multiples of `pageSize`. Absent: this space leads to no registers. What is behind the window stays there until
   * `unmap`, whatever becomes of the function meanwhile.
   * @throws DmaError EREMOTEIO a window of another world · EINVAL not inside the window, or not registers all over
   *   · EFAULT the registers do not answer (memory decode is off) · ENODEV closed, or the window's function is ·
   *   otherwise as `map`
   */
  mapWindow?(iova: number, window: MmioWindow, offset: number, size: number, access: Access): void;

  /**
   * Remove every mapping inside [iova, iova + size); returns the bytes removed (0 when there was none).
   * @throws DmaError EINVAL when the range would cut a mapping in two · ENODEV closed
   */
  unmap(iova: number, size: number): number;

  /** Unmap everything and release the space. Harmless to call twice. */
  close(): void;
}

/** Throws DmaError EINVAL for anything but an address space. */
export function checkAddressSpace(space: unknown, what: string): void {
  const remedy = 'pass an address space, or leave it out for memory with device addresses';
  checkMethods(space, what, ['map', 'unmap', 'close'], remedy);
  checkPageSize((space as AddressSpace).pageSize, `pageSize of ${what}`);
  if (!Array.isArray((space as AddressSpace).ranges)) throw argumentError(`ranges of ${what}`, space, remedy);
}
