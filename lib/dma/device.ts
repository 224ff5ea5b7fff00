/**
 * A device as the DMA API sees it (struct device): masks, and the memory it can reach. Knows no bus and no
 * operating system; what it stands on comes in through the constructor.
 */
import { checkSize, DmaError } from '../errors.ts';
import type { AddressSpace } from '../iommu/address-space.ts';
import type { MemorySource } from '../memory/source.ts';
import { CoherentBuffer, type CoherentOwner } from './coherent.ts';
import { IommuOperations } from './iommu-operations.ts';
import { checkMask, DEFAULT_MASK, maskLimit } from './mask.ts';
import type { Allocation, DmaOperations } from './operations.ts';
import { PoisonedPool } from './poisoned-pool.ts';
import { DmaPool, type PoolOwner } from './pool.ts';
import type { PoolOptions } from './pool-layout.ts';

export interface DmaDeviceOptions {
  /** For messages, e.g. the PCI address. */
  readonly name: string;
  /** Both belong to the device from here on: closing it closes them. */
  readonly memory: MemorySource;
  readonly addressSpace: AddressSpace;
}

export class DmaDevice implements CoherentOwner {
  readonly name: string;
  readonly #operations: DmaOperations;
  readonly #coherent = new Set<CoherentBuffer>();
  readonly #pools = new Set<DmaPool>();
  #mask = DEFAULT_MASK;
  #coherentMask = DEFAULT_MASK;
  #closed = false;

  constructor({ name, memory, addressSpace }: DmaDeviceOptions) {
    this.name = name;
    this.#operations = new IommuOperations(addressSpace, memory);
  }

  /** Ceiling of streaming mappings (dma_get_mask); 32 bits until set. */
  get mask(): bigint {
    return this.#mask;
  }

  /** Ceiling of coherent memory; 32 bits until set. */
  get coherentMask(): bigint {
    return this.#coherentMask;
  }

  /** The mask this device would need to reach all it may be given (dma_get_required_mask); changes nothing. */
  get requiredMask(): bigint {
    return this.#operations.requiredMask;
  }

  /** Windows of addresses the device can be given, ascending, both ends inclusive, whatever the masks say. */
  get addressRanges(): readonly { readonly start: bigint; readonly end: bigint }[] {
    return this.#operations.ranges.map(({ start, end }) => ({ start: BigInt(start), end: BigInt(end) }));
  }

  /** Whether `setMask` would take this mask (dma_supported). @throws DmaError EINVAL not a mask · ENODEV closed */
  supported(mask: bigint): boolean {
    this.#checkOpen();
    checkMask(mask);
    return this.#operations.supports(maskLimit(mask));
  }

  /**
   * Ceiling of the streaming mappings made from now on (dma_set_mask).
   * @throws DmaError EIO no address fits under it (nothing has changed) · EINVAL not a mask · ENODEV closed
   */
  setMask(mask: bigint): void {
    this.#checkSupported(mask);
    this.#mask = mask;
  }

  /** Ceiling of the coherent memory allocated from now on (dma_set_coherent_mask). Errors as `setMask`. */
  setCoherentMask(mask: bigint): void {
    this.#checkSupported(mask);
    this.#coherentMask = mask;
  }

  /** Both ceilings at once (dma_set_mask_and_coherent). Errors as `setMask`. */
  setMaskAndCoherent(mask: bigint): void {
    this.setMask(mask);
    this.setCoherentMask(mask);
  }

  /**
   * Coherent memory (dma_alloc_coherent): zeroed, its device address under the coherent mask and aligned to the
   * smallest power of two of pages that holds `size` bytes.
   * @throws DmaError EINVAL size · ENOMEM no memory or no address · ENOSPC no mappings left · ENODEV closed
   */
  allocCoherent(size: number): CoherentBuffer {
    this.#checkOpen();
    checkSize(size, 'the size of a coherent buffer');
    const allocation = this.#operations.allocate(size, maskLimit(this.#coherentMask));
    const buffer = new CoherentBuffer(this, size, allocation);
    this.#coherent.add(buffer);
    return buffer;
  }

  /**
   * A pool of small blocks of coherent memory (dma_pool_create). Its name, cut to 31 characters, is for messages.
   * @throws DmaError EINVAL options · ENOMEM, ENOSPC no memory for the first `blocks` · ENODEV closed
   */
  createPool(name: string, options: PoolOptions): DmaPool {
    this.#checkOpen();
    const owner: PoolOwner = {
      operations: this.#operations,
      coherentLimit: () => maskLimit(this.#coherentMask),
      forgetPool: (pool) => void this.#pools.delete(pool),
    };
    const pool = new (options.poison === true ? PoisonedPool : DmaPool)(name, options, owner);
    this.#pools.add(pool);
    return pool;
  }

  /** Called by `CoherentBuffer.free`. */
  releaseCoherent(buffer: CoherentBuffer, allocation: Allocation): void {
    this.#coherent.delete(buffer);
    this.#operations.release(allocation);
  }

  /** Coherent buffers not freed yet, oldest first. */
  get live(): readonly CoherentBuffer[] {
    return [...this.#coherent];
  }

  /**
   * Take everything back: every view has length 0 afterwards and every mapping is gone. The device must have been
   * stopped before (PciFunction.close does). Harmless to call twice.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const buffer of this.#coherent) buffer.revoke();
    this.#coherent.clear();
    for (const pool of this.#pools) pool.revoke();
    this.#pools.clear();
    this.#operations.close();
  }

  #checkSupported(mask: bigint): void {
    if (this.supported(mask)) return;
    throw new DmaError('EIO', `${this.name}: no address fits under the DMA mask 0x${mask.toString(16)}`, {
      remedy: 'the device cannot be used with this IOMMU unless it takes wider addresses',
    });
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new DmaError('ENODEV', `${this.name} is closed`, { remedy: 'open it again' });
  }
}
