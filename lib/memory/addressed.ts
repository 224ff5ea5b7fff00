/**
 * Memory that dictates its device address: what a device without an IOMMU reaches.
 *
 *      physical     a simulated machine's               (simulation, any OS)
 *      u-dma-buf    one buffer of the module u-dma-buf   (Linux, FPGA boards)
 *      huge pages   at their physical addresses          (Linux, root, unsafe)
 */
import { argumentError, checkMethods } from '../arguments.ts';
import type { CacheMaintenance } from '../cache.ts';
import type { IovaRange } from '../iommu/address-space.ts';
import type { Coherence, MemorySource } from './source.ts';

export interface AddressedMemory extends MemorySource {
  /** Device addresses at which there is memory, ascending, disjoint, whole pages below 2^53; both ends inclusive. */
  readonly ranges: readonly IovaRange[];

  /** The last of them. */
  readonly highest: number;

  /** Bytes there may be in all, where the memory grows. Default: what is in `ranges` now. */
  readonly capacity?: number;

  /**
   * How CPU and device are made to agree where they do not by themselves; what a DmaDevice uses unless told otherwise.
   */
  readonly cache?: CacheMaintenance | undefined;

  /**
   * Device address of the first byte of an allocation; the rest follows it without a gap.
   * @throws DmaError EINVAL not a live allocation of this memory
   */
  addressOf(buffer: ArrayBuffer): number;

  /** Where in its page the first byte of memory from elsewhere lies, if that is known. Default: at its start. */
  pageOffset?(buffer: ArrayBufferLike): number;

  /**
   * As `allocate`, with all of it at or below device address `limit`, starting at a multiple of the smallest power of
   * two of pages that holds it.
   * @throws DmaError EINVAL size · ENOMEM no such memory is left · ENODEV closed
   */
  allocateBelow(size: number, limit: number, coherence?: Coherence): ArrayBuffer;
}

/** Throws DmaError EINVAL for anything but memory with addresses. */
export function checkAddressedMemory(memory: unknown, what: string): void {
  const remedy = 'pass memory with device addresses, e.g. of openUDmaBuf';
  checkMethods(memory, what, ['allocate', 'allocateBelow', 'free', 'close', 'addressOf'], remedy);
  if (!Array.isArray((memory as AddressedMemory).ranges)) throw argumentError(what, memory, remedy);
}
