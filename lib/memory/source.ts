/**
 * The MemorySource seam: where memory that a device may reach comes from.
 *
 *      memfd / hugetlb      large sealed regions, carved natively     (real hardware, Linux)
 *      dma-heap             a dma-buf each, for others' devices       (Linux; dma-heap.ts)
 *      heap                 plain ArrayBuffers                        (simulation, any OS)
 *      physical             those, with addresses (addressed.ts)      (simulation without an IOMMU)
 *
 * The token for a piece of memory is its ArrayBuffer, in every world: an AddressSpace maps it, `free` kills it.
 */

import { checkMethods } from '../arguments.ts';
import { checkPageSize } from '../page-size.ts';
export interface MemorySource {
  /** Short name for people: `memfd`, `hugetlb`, `heap`. */
  readonly name: string;

  /** Bytes; every allocation starts on such a boundary and owns the rest of its last page. */
  readonly pageSize: number;

  /**
   * Zeroed memory with an ArrayBuffer of its own, exactly `size` bytes long. The bytes from there to the end of
   * the last page belong to the same allocation and are zero. 'coherent' unless said otherwise; a source of memory
   * that is always coherent need not ask.
   * @throws DmaError ENOMEM when there is no memory, ENODEV after `close`
   */
  allocate(size: number, coherence?: Coherence): ArrayBuffer;

  /**
   * Give an allocation back; every view of it has length 0 afterwards. No device may have it mapped any more.
   * A buffer that arrives already detached was transferred by the program (`transfer()`): its memory is not used
   * again until `close`, so that the program never sees another allocation's bytes there.
   * @throws DmaError EINVAL when the buffer is not a live allocation of this source
   */
  free(buffer: ArrayBuffer): void;

  /**
   * Revoke everything that is still out and release the memory. Harmless to call twice. A view that was stolen
   * reads zeros of anonymous memory from here on.
   */
  close(): void;
}

/**
 * How the CPU treats memory when the device does not see the CPU's caches: it does not cache 'coherent' memory, so that
 * both see each other's writes; it caches 'noncoherent' memory, and the driver has to sync it. To a
 * device that does see the caches both are the same.
 */
export type Coherence = 'coherent' | 'noncoherent';

/** Throws DmaError EINVAL for anything but a source of memory. */
export function checkMemory(memory: unknown, what: string): void {
  checkMethods(
    memory,
    what,
    ['allocate', 'free', 'close'],
    'pass a source of memory, e.g. new MemfdMemory()',
  );
  checkPageSize((memory as MemorySource).pageSize, `pageSize of ${what}`);
}
