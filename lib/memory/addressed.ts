/**
 * Memory that has device addresses of its own, for a device without an IOMMU.
 *
 *      physical     a simulated machine's               (simulation, any OS)
 *      u-dma-buf    one buffer of the module u-dma-buf   (Linux, FPGA boards)
 *      huge pages   at their physical addresses          (Linux, root, unsafe)
 */
import { argumentError, checkMethods } from '../arguments.ts';
import type { CacheMaintenance } from '../cache.ts';
import type { IovaRange } from '../iommu/address-space.ts';
import type { Coherence, MemorySource } from './source.ts';

/** Memory that dictates its device address, for devices without an IOMMU. */
export interface AddressedMemory extends MemorySource {
  /** Device addresses that have memory, ascending, disjoint, whole pages below 2^53; both ends inclusive. */
  readonly ranges: readonly IovaRange[];

  /** The highest address in `ranges`. */
  readonly highest: number;

  /** The number of bytes that the memory can grow to. Default: the bytes in `ranges` now. */
  readonly capacity?: number;

  /**
   * How CPU and device are made to agree if they do not see the same bytes by themselves. A DmaDevice uses it unless
   * its options name another one.
   */
  readonly cache?: CacheMaintenance | undefined;

  /**
   * The device address of the first byte of an allocation. The rest follows it without a gap.
   * @throws DmaError EINVAL not a live allocation of this memory
   */
  addressOf(buffer: ArrayBuffer): number;

  /** The offset in its page of the first byte of a buffer from elsewhere, if this memory knows it. Default: 0. */
  pageOffset?(buffer: ArrayBufferLike): number;

  /**
   * As `allocate`, with all of it at or below device address `limit`. It starts at a multiple of the smallest power
   * of two of pages that holds it.
   * @throws DmaError EINVAL size · ENOMEM no memory is left there · ENODEV closed
   */
  allocateBelow(size: number, limit: number, coherence?: Coherence): ArrayBuffer;
}

/** Throws DmaError EINVAL if the value is not memory with device addresses. */
export function checkAddressedMemory(memory: unknown, what: string): void {
  const remedy = 'pass memory with device addresses, e.g. of openUDmaBuf';
  checkMethods(memory, what, ['allocate', 'allocateBelow', 'free', 'close', 'addressOf'], remedy);
  if (!Array.isArray((memory as AddressedMemory).ranges)) throw argumentError(what, memory, remedy);
}
