/**
 * The MemorySource seam: where memory that a device may reach comes from.
 *
 *      memfd / hugetlb      large sealed regions, carved natively     (real hardware, Linux)
 *      dma-heap             a dma-buf each, for devices of others     (Linux; dma-heap.ts)
 *      heap                 plain ArrayBuffers                        (simulation, any OS)
 *      physical             those, with addresses (addressed.ts)      (simulation without an IOMMU)
 *
 * In every world a piece of memory is named by its ArrayBuffer: an AddressSpace maps the buffer, and `free` detaches
 * it.
 */

import { checkMethods } from '../arguments.ts';
import { checkPageSize } from '../page-size.ts';
/** Where memory for a device comes from. */
export interface MemorySource {
  /** Short name for people: `memfd`, `hugetlb`, `heap`. */
  readonly name: string;

  /** Bytes. Every allocation starts at a multiple of this, and owns the rest of its last page. */
  readonly pageSize: number;

  /**
   * Zeroed memory with an ArrayBuffer of its own, exactly `size` bytes long. The bytes from there to the end of the
   * last page belong to the same allocation and are zero. The default is 'coherent'. A source whose memory is always
   * coherent may ignore it.
   * @throws DmaError ENOMEM no memory is left · ENODEV after `close`
   */
  allocate(size: number, coherence?: Coherence): ArrayBuffer;

  /**
   * Free an allocation. Every view of it then has length 0. No device may have it mapped any more. If the buffer is
   * already detached, the program transferred it (`transfer()`). Its memory is then not used again until `close`, so
   * that the program never sees another allocation's bytes there.
   * @throws DmaError EINVAL if the buffer is not a live allocation of this source
   */
  free(buffer: ArrayBuffer): void;

  /**
   * Revoke every live allocation and release the memory. Calling it twice is harmless. A view that the program
   * transferred reads zeros of anonymous memory from here on.
   */
  close(): void;
}

/**
 * How the CPU treats memory if the device does not see the CPU's caches. The CPU does not cache 'coherent' memory, so
 * that both see each other's writes. It caches 'noncoherent' memory, and the driver has to sync it. For a device that
 * does see the caches the two are equal.
 */
export type Coherence = 'coherent' | 'noncoherent';

/** Throws DmaError EINVAL if the value is not a source of memory. */
export function checkMemory(memory: unknown, what: string): void {
  checkMethods(
    memory,
    what,
    ['allocate', 'free', 'close'],
    'pass a source of memory, e.g. new MemfdMemory()',
  );
  checkPageSize((memory as MemorySource).pageSize, `pageSize of ${what}`);
}
