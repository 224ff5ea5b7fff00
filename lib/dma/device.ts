/**
 * A device as the DMA API sees it (struct device): its masks, and the memory that it can reach. This class knows no
 * bus and no operating system. Its dependencies are arguments of the constructor.
 */

import { argumentError, checkFunction, checkInstance, checkOptions, checkText } from '../arguments.ts';
import { type CacheMaintenance, checkCache } from '../cache.ts';
import type { DmaDirection } from '../direction.ts';
import { DmaError } from '../errors.ts';
import { type AddressSpace, checkAddressSpace } from '../iommu/address-space.ts';
import { type AddressedMemory, checkAddressedMemory } from '../memory/addressed.ts';
import { checkMemory, type MemorySource } from '../memory/source.ts';
import type { BounceStats } from './bounce/bounce.ts';
import type { Allocations, Held } from './buffers/allocations.ts';
import { type CoherentBuffer, type CoherentOptions, checkCoherentOptions } from './buffers/coherent.ts';
import type { NoncoherentBuffer } from './buffers/noncoherent.ts';
import type { NoncontiguousBuffer } from './buffers/noncontiguous.ts';
import type { DmaDebugView } from './debug-view.ts';
import type { DeclarableMemory, DeclaredInfo, DeclareOptions } from './declared/declared.ts';
import type { CoherentIoBuffer } from './declared/io.ts';
import type { IovaState } from './iova/state.ts';
import { DirectOperations } from './operations/direct.ts';
import { IommuDomain } from './operations/domain.ts';
import { IommuOperations } from './operations/iommu.ts';
import type { DmaOperations } from './operations/operations.ts';
import type { OwnMemory } from './operations/own-memory.ts';
import { type DeviceParts, PLAIN_PARTS } from './parts.ts';
import type { PoolOptions } from './pool/layout.ts';
import type { DmaPool } from './pool/pool.ts';
import type { SgMapping } from './sg/mapping.ts';
import type { ScatterGather } from './sg/scatter-gather.ts';
import type { DmaLimits } from './streaming/limits.ts';
import { StreamingMapping } from './streaming/mapping.ts';
import type { RegisterSource, ResourceMappings } from './streaming/resource.ts';
import { STREAMING_CHECKS, type Streaming, type StreamingOptions } from './streaming/streaming.ts';
import { Lifetime } from './words/lifetime.ts';
import { checkMask, DEFAULT_MASK, maskLimit } from './words/mask.ts';

export interface DeviceOptions extends StreamingOptions {
  /** The name for messages, e.g. the PCI address. */
  readonly name: string;
  /**
   * Changes the parts of the device: a simulation makes them fail or take time. By default nothing changes.
   * @internal
   */
  readonly alter?: ((parts: DeviceParts) => DeviceParts) | undefined;
}

/** A device behind an IOMMU, in a domain that it may share. The last device that is closed closes the domain. */
export interface DomainDeviceOptions extends DeviceOptions {
  readonly domain: IommuDomain;
  readonly memory?: undefined;
  readonly addressSpace?: undefined;
}

/** A device in a domain of its own. The domain takes ownership of `memory` and `addressSpace`. */
export interface TranslatedDeviceOptions extends DeviceOptions {
  readonly memory: MemorySource;
  readonly addressSpace: AddressSpace;
  readonly domain?: undefined;
}

/** A device without an IOMMU: the memory dictates the addresses. The device takes ownership of `memory`. */
export interface DirectDeviceOptions extends DeviceOptions {
  readonly memory: AddressedMemory;
  readonly addressSpace?: undefined;
  readonly domain?: undefined;
}

/**
 * The base of a DmaDevice: a domain, or a memory source and an address space of its own, or memory that dictates its
 * addresses.
 */
export type DmaDeviceOptions = DomainDeviceOptions | TranslatedDeviceOptions | DirectDeviceOptions;

/**
 * A device and its DMA API: masks, allocations, pools and mappings. `openPci` makes one for each function (`fn.dma`).
 */
export class DmaDevice {
  readonly name: string;
  /** The cache maintenance of the device. It is undefined on a coherent device. */
  readonly cache: CacheMaintenance | undefined;

  /** @internal */
  protected readonly own: OwnMemory;
  /** @internal */
  protected readonly streaming: Streaming;
  readonly #operations: DmaOperations;
  readonly #allocations: Allocations;
  readonly #lists: ScatterGather;
  readonly #resources: ResourceMappings;
  #mask = DEFAULT_MASK;
  #coherentMask = DEFAULT_MASK;
  readonly #lifetime: Lifetime;

  /** @throws DmaError EINVAL options · ENODEV the domain is closed */
  constructor(options: DmaDeviceOptions);
  /** @param parts the classes that the device is built from; dma-debug has parts of its own @internal */
  constructor(options: DmaDeviceOptions, parts: DeviceParts);
  constructor(options: DmaDeviceOptions, parts: DeviceParts = PLAIN_PARTS) {
    checkDevice(options);
    const { name } = options;
    this.name = name;
    const operations = operationsFor(options);
    const { own } = operations;
    const cache = cacheFor(options);
    const limit = maskLimit(DEFAULT_MASK);
    const made = options.alter?.(parts) ?? parts;
    const lifetime = new Lifetime(name);
    const streaming = made.streaming({ name, operations, own, lifetime }, limit, { ...options, cache });
    const { pinning } = streaming;
    this.cache = cache;
    this.#lifetime = lifetime;
    this.#operations = operations;
    this.own = own;
    this.streaming = streaming;
    this.#lists = made.lists({ name, operations, own, streaming, cache, limit, lifetime });
    this.#resources = made.resources({ name, operations, coherent: cache === undefined, lifetime });
    this.#allocations = made.allocations({
      name,
      operations,
      own,
      cache,
      pinning,
      limit,
      lifetime,
      makePool: made.pool,
    });
    operations.domain?.attach(this);
  }

  /**
   * The domain of the device, or undefined without an IOMMU. All devices in a domain share its address space: an
   * address of one device is valid for all.
   */
  get domain(): IommuDomain | undefined {
    return this.#operations.domain;
  }

  /** The highest address of streaming mappings (dma_get_mask). It is 32 bits until the driver sets it. */
  get mask(): bigint {
    return this.#mask;
  }

  /** The highest address of coherent memory. It is 32 bits until the driver sets it. */
  get coherentMask(): bigint {
    return this.#coherentMask;
  }

  /**
   * The mask that the device would need to reach all the memory it may be given (dma_get_required_mask). Reading it
   * changes nothing.
   */
  get requiredMask(): bigint {
    return this.#operations.requiredMask;
  }

  /**
   * The device addresses that exist, in ascending order. Both ends of a range are inclusive. The masks do not change
   * the ranges.
   */
  get addressRanges(): readonly { readonly start: bigint; readonly end: bigint }[] {
    return this.#operations.ranges.map(({ start, end }) => ({ start: BigInt(start), end: BigInt(end) }));
  }

  /** True if `setMask` would accept this mask (dma_supported). @throws DmaError EINVAL not a mask · ENODEV closed */
  supported(mask: bigint): boolean {
    this.#lifetime.check();
    checkMask(mask);
    return this.#operations.supports(maskLimit(mask));
  }

  /**
   * Set the highest address of the streaming mappings made from now on (dma_set_mask).
   * @throws DmaError EIO no address fits under the mask (nothing has changed) · EINVAL not a mask · ENODEV closed
   */
  setMask(mask: bigint): void {
    this.#checkSupported(mask);
    this.#mask = mask;
    this.streaming.setLimit(maskLimit(mask));
    this.#lists.setLimit(maskLimit(mask));
  }

  /**
   * Set the highest address of the coherent memory allocated from now on (dma_set_coherent_mask). It throws as
   * `setMask`.
   */
  setCoherentMask(mask: bigint): void {
    this.#checkSupported(mask);
    this.#coherentMask = mask;
    this.#allocations.setLimit(maskLimit(mask));
  }

  /** Set both masks at once (dma_set_mask_and_coherent). It throws as `setMask`. */
  setMaskAndCoherent(mask: bigint): void {
    this.setMask(mask);
    this.setCoherentMask(mask);
  }

  /**
   * Allocate coherent memory (dma_alloc_coherent). The memory is zeroed. Its device address lies under the coherent
   * mask and is aligned to the smallest power of two of pages that holds `size` bytes. Declared memory is used first,
   * and the mask does not apply to it.
   * @throws DmaError EINVAL size, options · ENOMEM no memory or no address · ENOSPC no mappings left · EOPNOTSUPP
   *   attributes that the library cannot honour, or the declared memory is part of a BAR: use `allocCoherentIo` ·
   *   ENODEV closed
   */
  allocCoherent(size: number, options?: CoherentOptions): CoherentBuffer {
    if (options === undefined) return this.#allocations.allocCoherent(size, undefined);
    checkCoherentOptions(options, this.domain === undefined);
    return this.#allocations.allocCoherent(size, options.managed);
  }

  /**
   * Allocate zeroed coherent memory in the declared BAR (dma_alloc_coherent of DMA_MEMORY_IO).
   * @throws DmaError EINVAL size, nothing declared · ENOMEM the declared memory is full · EOPNOTSUPP the declared
   *   memory is not in a BAR · EIO the BAR did not answer · ENODEV the device or the BAR's function is closed
   */
  allocCoherentIo(size: number): CoherentIoBuffer {
    return this.#allocations.allocCoherentIo(size);
  }

  /**
   * Declare coherent memory for this device (dma_declare_coherent_memory). `allocCoherent` and pools use it before
   * any other memory. The device sees it at `deviceAddress`. This call maps nothing, and the driver makes sure that
   * the address is used for nothing else. The CPU and the device must see each other's writes in this memory. For a
   * device that is not coherent, the memory must therefore be uncached for the CPU.
   * @param memory a buffer or view, or part of a BAR, of `size` bytes or more
   * @param size bytes, in whole pages (the kernel ignores an incomplete page at the end, this call refuses it)
   * @throws DmaError EINVAL size, address or memory · EBUSY memory is declared already · ENODEV closed
   */
  declareCoherentMemory(
    memory: DeclarableMemory,
    deviceAddress: bigint,
    size: number,
    options?: DeclareOptions,
  ): void {
    this.#allocations.declareCoherentMemory(memory, deviceAddress, size, options);
  }

  /** The declared memory and its live allocations. It is undefined if none is declared. */
  get declared(): DeclaredInfo | undefined {
    return this.#allocations.declared;
  }

  /**
   * Forget the declared memory (dma_release_coherent_memory). The buffers and pools in it end: using them throws
   * EINVAL. As in the kernel, nothing checks if any of them are live.
   * @throws DmaError EINVAL nothing declared · ENODEV closed
   */
  releaseDeclaredMemory(): void {
    this.#allocations.releaseDeclaredMemory();
  }

  /**
   * Allocate the pages of declared memory that hold `size` bytes from `deviceAddress` on, without clearing them
   * (dma_mark_declared_memory_occupied). It is for pages that already hold data. The buffer starts with the first
   * page. Freeing the buffer frees the pages.
   * @throws DmaError EINVAL nothing declared, size, not inside · EBUSY one of the pages is in use (the number of
   *   pages is a power of two) · EOPNOTSUPP part of a BAR: use `markDeclaredIoOccupied` · ENODEV closed
   */
  markDeclaredMemoryOccupied(deviceAddress: bigint, size: number): CoherentBuffer {
    return this.#allocations.markDeclaredMemoryOccupied(deviceAddress, size);
  }

  /**
   * As `markDeclaredMemoryOccupied`, for memory in a BAR.
   * @throws DmaError EOPNOTSUPP the declared memory is not in a BAR · otherwise as `markDeclaredMemoryOccupied`
   */
  markDeclaredIoOccupied(deviceAddress: bigint, size: number): CoherentIoBuffer {
    return this.#allocations.markDeclaredIoOccupied(deviceAddress, size);
  }

  /**
   * Allocate memory that the CPU and the device use in turn (dma_alloc_noncoherent). It differs from `allocCoherent`:
   * On a device that is not coherent, the CPU caches the memory. The device may use it for `direction` only. Syncs
   * change its owner. It is never taken from declared memory.
   * @throws DmaError EINVAL size, direction · otherwise as `allocCoherent`
   */
  allocNoncoherent(size: number, direction: DmaDirection): NoncoherentBuffer {
    return this.#allocations.allocNoncoherent(size, direction);
  }

  /** As `allocNoncoherent`, rounded up to whole pages (dma_alloc_pages). */
  allocPages(size: number, direction: DmaDirection): NoncoherentBuffer {
    return this.#allocations.allocPages(size, direction);
  }

  /**
   * Allocate noncoherent memory that is contiguous for the device, and has one or a few pieces for the CPU
   * (dma_alloc_noncontiguous). An IOMMU lets the device read and write it in every case. `direction` is the direction
   * of the syncs.
   * @param attributes DMA_ATTR.ALLOC_SINGLE_PAGES, a hint that changes nothing here, or none
   * @throws DmaError EINVAL size, direction, attributes · ENOMEM no memory or no address · ENOSPC no mappings left ·
   *   ENODEV closed
   */
  allocNoncontiguous(size: number, direction: DmaDirection, attributes = 0): NoncontiguousBuffer {
    return this.#allocations.allocNoncontiguous(size, direction, attributes);
  }

  /**
   * Sync bytes of noncoherent memory, given by a view of them (dma_cache_sync, which the kernel had until 5.10). The
   * sync goes to the device, from it, or first to it and then from it. The bytes must be whole cache lines, see
   * `limits.cacheAlignment`.
   * @throws DmaError EINVAL direction, other memory, parts of lines · ENODEV closed
   */
  cacheSync(view: ArrayBufferView, direction: DmaDirection): void {
    this.#allocations.cacheSync(view, direction);
  }

  /**
   * Create a pool of small blocks of coherent memory (dma_pool_create). The name is for messages and is cut to 31
   * characters.
   * @throws DmaError EINVAL options · ENOMEM, ENOSPC no memory for the first `blocks` · ENODEV closed
   */
  createPool(name: string, options: PoolOptions): DmaPool {
    return this.#allocations.createPool(name, options);
  }

  /**
   * Map the bytes of a view for the device (dma_map_single): in place if possible, otherwise through a copy. `way` of
   * the result tells which. The CPU must not touch the bytes until `unmap` or `syncForCpu`.
   * @param attributes members of DMA_ATTR, combined with |
   * @throws DmaError EINVAL direction, attributes, or a view that is empty, detached, resizable or shared · ENOMEM
   *   too long to bounce, or no room · EPERM DMA_ATTR.REQUIRE_COHERENT was given, and a copy or a sync would be
   *   needed · ENODEV closed
   */
  mapSingle(view: ArrayBufferView, direction: DmaDirection, attributes = 0): StreamingMapping {
    return this.streaming.mapSingle(view, direction, attributes);
  }

  /**
   * Map a list of views for the device (dma_map_sg, dma_map_sgtable). The whole list is mapped, or nothing.
   * Neighbours that become contiguous for the device form one segment of the result, within `limits`. Without an
   * IOMMU no neighbours merge.
   * @param attributes members of DMA_ATTR, combined with |
   * @throws DmaError EINVAL an empty list, or an element that `mapSingle` refuses · ENOMEM no room: retry later · EIO
   *   an element could not be mapped for any other reason · ENODEV closed
   */
  mapSg(views: readonly ArrayBufferView[], direction: DmaDirection, attributes = 0): SgMapping {
    return this.#lists.mapSg(views, direction, attributes);
  }

  /**
   * Map registers of a function for the device (dma_map_resource): bytes [offset, offset + size) of a BAR, in whole
   * pages of the IOMMU. The BAR may belong to another function or to this one. The device reads and writes the
   * registers there. `way` of the result is 'resource', and syncs do nothing. Unmap before you close the function
   * that the registers belong to: until then the function stays open for the kernel, and cannot be opened again.
   * @param attributes members of DMA_ATTR, combined with |
   * @throws DmaError EINVAL direction, attributes, an I/O BAR, or not whole pages inside the BAR · EREMOTEIO there is
   *   no way to the registers: no IOMMU, or a function of another world · EFAULT the registers do not answer (memory
   *   decode is off) · ENOMEM no address · ENOSPC no mappings left · ENODEV the device or the BAR's function is
   *   closed
   */
  mapResource(
    bar: RegisterSource,
    offset: number,
    size: number,
    direction: DmaDirection,
    attributes = 0,
  ): StreamingMapping {
    return this.#resources.map(bar, offset, size, direction, attributes, maskLimit(this.#mask)).handle;
  }

  /**
   * Reserve addresses that the driver links memory into, piece by piece (dma_iova_try_alloc). The result is null if
   * no addresses are free under the streaming mask, or if the device has no IOMMU. Use `mapSg` then.
   * @param size bytes
   * @param first the view that will be linked at offset 0, if it starts inside a granule
   * @throws DmaError EINVAL size, view · ENODEV closed
   */
  reserveIova(size: number, first?: ArrayBufferView): IovaState | null {
    return this.#allocations.reserveIova(size, first, maskLimit(this.#mask));
  }

  /** True if syncs of this mapping do anything (dma_need_sync). @throws DmaError EINVAL once unmapped */
  needSync(mapping: StreamingMapping): boolean {
    if (!(mapping instanceof StreamingMapping)) {
      throw argumentError('the mapping', mapping, 'pass what mapSingle or mapResource returned');
    }
    return mapping.needSync;
  }

  /**
   * The device address of a view's first byte. This device, or another one in its domain, must have allocated the
   * memory (coherent, noncoherent, or a pool's block).
   * @throws DmaError EINVAL foreign or freed memory: map it
   */
  addressOf(view: ArrayBufferView): bigint {
    const address = this.own.addressOf(view);
    if (address !== undefined) return address;
    throw new DmaError('EINVAL', `${this.name}: these bytes have no address for the device`, {
      remedy: 'map them, or use memory that the device allocated and that is not freed',
    });
  }

  /** The limits of mappings: segment size and boundary, alignment, longest mapping. */
  get limits(): DmaLimits {
    return this.streaming.limits;
  }

  /** True if the mask leaves out memory that the device may be given (dma_addressing_limited). */
  get addressingLimited(): boolean {
    return this.#mask < this.requiredMask;
  }

  /** The counters of the bounce buffer. */
  get bounceStats(): BounceStats {
    return this.streaming.bounce.stats;
  }

  /** The dma-debug view of this device. It is undefined if the device was opened without dma-debug. */
  get debug(): DmaDebugView | undefined {
    return undefined;
  }

  /** The live allocations, oldest first. */
  get live(): readonly Held[] {
    return this.#allocations.live;
  }

  /**
   * The device is gone (PciFunction.gone). From here on, allocations, mappings and changes of the masks throw this
   * error. Live allocations and mappings stay until the driver frees or unmaps them, or calls `close`.
   * @internal
   */
  abandon(error: DmaError): void {
    if (this.#lifetime.closed) return;
    this.#lifetime.abandon(error);
    this.#allocations.abandon(error);
    this.#operations.abandon(error);
  }

  /**
   * Free and unmap everything. Afterwards every view has length 0, and every mapping is over. The device must be
   * stopped before this call (PciFunction.close does that). It is harmless to call this twice.
   */
  close(): void {
    if (this.#lifetime.closed) return;
    this.#lifetime.close();
    this.#lists.close();
    this.#resources.close();
    this.streaming.close();
    this.#allocations.close();
    this.domain?.detach(this);
    this.#operations.close();
  }

  #checkSupported(mask: bigint): void {
    if (this.supported(mask)) return;
    throw new DmaError('EIO', `${this.name}: no address fits under the DMA mask 0x${mask.toString(16)}`, {
      remedy: 'the device cannot be used with this IOMMU unless it takes wider addresses',
    });
  }
}

function checkDevice(options: DmaDeviceOptions): void {
  if (options === undefined) {
    throw argumentError('the options of DmaDevice', options, 'pass { name, memory } or { name, domain }');
  }
  checkOptions<Record<keyof DmaDeviceOptions, unknown>>(options, 'DmaDevice', {
    ...STREAMING_CHECKS,
    name: checkText,
    domain: checkInstance(IommuDomain, 'pass the domain of an open function'),
    memory: checkMemory,
    addressSpace: checkAddressSpace,
    cache: checkCache,
    copyMany: checkFunction,
    alter: checkFunction,
  });
  checkText(options.name, 'option name of DmaDevice');
  if (options.domain !== undefined) return;
  if (options.addressSpace === undefined) checkAddressedMemory(options.memory, 'option memory of DmaDevice');
  else checkMemory(options.memory, 'option memory of DmaDevice');
}

function operationsFor(options: DmaDeviceOptions): DmaOperations {
  if (options.domain !== undefined) return new IommuOperations(options.domain);
  if (options.addressSpace === undefined) return new DirectOperations(options.memory);
  return new IommuOperations(new IommuDomain(options.addressSpace, options.memory));
}

/** The cache maintenance that the caller passed, or that of the memory. */
function cacheFor(options: DmaDeviceOptions): CacheMaintenance | undefined {
  const { memory, addressSpace, cache } = options;
  return cache ?? (memory !== undefined && addressSpace === undefined ? memory.cache : undefined);
}
