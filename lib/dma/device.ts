/**
 * A device as the DMA API sees it (struct device): masks, and the memory it can reach. It knows no bus and no
 * operating system: its dependencies are arguments of the constructor.
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
  /** For messages, e.g. the PCI address. */
  readonly name: string;
  /** Changes the parts of the device: a simulation makes them fail or take time. Default: no change. @internal */
  readonly alter?: ((parts: DeviceParts) => DeviceParts) | undefined;
}

/** A device behind an IOMMU, in a domain that it may share. The last device that is closed closes the domain. */
export interface DomainDeviceOptions extends DeviceOptions {
  readonly domain: IommuDomain;
  readonly memory?: undefined;
  readonly addressSpace?: undefined;
}

/** A device in a domain of its own, made of these two. The domain takes ownership of `memory` and `addressSpace`. */
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
 * What a DmaDevice is built on: a domain, or memory and address space of its own, or memory that dictates its
 * addresses.
 */
export type DmaDeviceOptions = DomainDeviceOptions | TranslatedDeviceOptions | DirectDeviceOptions;

/**
 * A device and its DMA API: masks, allocations, pools and mappings. `openPci` makes one for each function (`fn.dma`).
 */
export class DmaDevice {
  readonly name: string;
  /** Cache maintenance; undefined on a coherent device. */
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
  /** @param parts of which the device is built: dma-debug has parts of its own @internal */
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
   * The domain of the device. All devices in it share its address space: an address of one is valid for all.
   * Undefined without an IOMMU.
   */
  get domain(): IommuDomain | undefined {
    return this.#operations.domain;
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

  /** The device addresses that exist, ascending, both ends inclusive. The masks do not change them. */
  get addressRanges(): readonly { readonly start: bigint; readonly end: bigint }[] {
    return this.#operations.ranges.map(({ start, end }) => ({ start: BigInt(start), end: BigInt(end) }));
  }

  /** Whether `setMask` would take this mask (dma_supported). @throws DmaError EINVAL not a mask · ENODEV closed */
  supported(mask: bigint): boolean {
    this.#lifetime.check();
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
    this.streaming.setLimit(maskLimit(mask));
    this.#lists.setLimit(maskLimit(mask));
  }

  /** Ceiling of the coherent memory allocated from now on (dma_set_coherent_mask). Errors as `setMask`. */
  setCoherentMask(mask: bigint): void {
    this.#checkSupported(mask);
    this.#coherentMask = mask;
    this.#allocations.setLimit(maskLimit(mask));
  }

  /** Both ceilings at once (dma_set_mask_and_coherent). Errors as `setMask`. */
  setMaskAndCoherent(mask: bigint): void {
    this.setMask(mask);
    this.setCoherentMask(mask);
  }

  /**
   * Coherent memory (dma_alloc_coherent): zeroed, its device address under the coherent mask and aligned to the
   * smallest power of two of pages that holds `size` bytes. From declared memory first, where no mask has a say.
   * @throws DmaError EINVAL size, options · ENOMEM no memory or no address · ENOSPC no mappings left · EOPNOTSUPP
   *   attributes that cannot be kept, or the declared memory is part of a BAR: `allocCoherentIo` · ENODEV closed
   */
  allocCoherent(size: number, options?: CoherentOptions): CoherentBuffer {
    if (options === undefined) return this.#allocations.allocCoherent(size, undefined);
    checkCoherentOptions(options, this.domain === undefined);
    return this.#allocations.allocCoherent(size, options.managed);
  }

  /**
   * Coherent memory in the BAR that was declared (dma_alloc_coherent of DMA_MEMORY_IO), zeroed.
   * @throws DmaError EINVAL size, nothing declared · ENOMEM it is full · EOPNOTSUPP what was declared is no BAR · EIO
   *   the BAR did not answer · ENODEV closed, or the BAR's function is
   */
  allocCoherentIo(size: number): CoherentIoBuffer {
    return this.#allocations.allocCoherentIo(size);
  }

  /**
   * Say that there is coherent memory for this device (dma_declare_coherent_memory), which `allocCoherent` and pools
   * take first. The device sees it at `deviceAddress`: nothing is mapped here, and the driver keeps the address from
   * being used for anything else. It is for CPU and device to see at once: on a device that is not coherent, memory
   * that the CPU does not cache.
   * @param memory a buffer or view, or part of a BAR, `size` bytes or more
   * @param size whole pages; the kernel drops what is left over
   * @throws DmaError EINVAL size, address or memory · EBUSY some is declared · ENODEV closed
   */
  declareCoherentMemory(
    memory: DeclarableMemory,
    deviceAddress: bigint,
    size: number,
    options?: DeclareOptions,
  ): void {
    this.#allocations.declareCoherentMemory(memory, deviceAddress, size, options);
  }

  /** The declared memory and its live allocations; undefined when none is declared. */
  get declared(): DeclaredInfo | undefined {
    return this.#allocations.declared;
  }

  /**
   * Forget declared memory (dma_release_coherent_memory). Buffers and pools in it end: using
   * them throws EINVAL. Like the kernel, this does not check whether any are live.
   * @throws DmaError EINVAL nothing declared · ENODEV closed
   */
  releaseDeclaredMemory(): void {
    this.#allocations.releaseDeclaredMemory();
  }

  /**
   * Allocate the pages of declared memory that hold `size` bytes from `deviceAddress` on, without clearing them: they
   * hold data already (dma_mark_declared_memory_occupied). The buffer starts with the first page. Freeing it ends that.
   * @throws DmaError EINVAL nothing declared, size, not inside · EBUSY one of the pages is in use (their number is
   *   a power of two) · EOPNOTSUPP part of a BAR: `markDeclaredIoOccupied` · ENODEV closed
   */
  markDeclaredMemoryOccupied(deviceAddress: bigint, size: number): CoherentBuffer {
    return this.#allocations.markDeclaredMemoryOccupied(deviceAddress, size);
  }

  /**
   * `markDeclaredMemoryOccupied` in a BAR.
   * @throws DmaError EOPNOTSUPP what was declared is no BAR · otherwise as that
   */
  markDeclaredIoOccupied(deviceAddress: bigint, size: number): CoherentIoBuffer {
    return this.#allocations.markDeclaredIoOccupied(deviceAddress, size);
  }

  /**
   * Memory that CPU and device take turns with (dma_alloc_noncoherent): as `allocCoherent`, but cached where the two
   * differ, and given to the device only for `direction`. Syncs change its owner. It is never taken from declared
   * memory.
   * @throws DmaError EINVAL size, direction · otherwise as `allocCoherent`
   */
  allocNoncoherent(size: number, direction: DmaDirection): NoncoherentBuffer {
    return this.#allocations.allocNoncoherent(size, direction);
  }

  /** `allocNoncoherent` of whole pages, as many as hold `size` bytes (dma_alloc_pages). */
  allocPages(size: number, direction: DmaDirection): NoncoherentBuffer {
    return this.#allocations.allocPages(size, direction);
  }

  /**
   * Noncoherent memory in one piece for the device, and in one or a few for the CPU (dma_alloc_noncontiguous). An
   * IOMMU lets the device read and write it, whatever the direction, which is that of the syncs.
   * @param attributes DMA_ATTR.ALLOC_SINGLE_PAGES, a hint that changes nothing here, or none
   * @throws DmaError EINVAL size, direction, attributes · ENOMEM no memory or no address · ENOSPC no mappings left ·
   *   ENODEV closed
   */
  allocNoncontiguous(size: number, direction: DmaDirection, attributes = 0): NoncontiguousBuffer {
    return this.#allocations.allocNoncontiguous(size, direction, attributes);
  }

  /**
   * Sync bytes of noncoherent memory by where the CPU has them (dma_cache_sync, until 5.10): to the device, from it, or
   * one after the other. Whole cache lines, see `limits.cacheAlignment`.
   * @throws DmaError EINVAL direction, other memory, parts of lines · ENODEV closed
   */
  cacheSync(view: ArrayBufferView, direction: DmaDirection): void {
    this.#allocations.cacheSync(view, direction);
  }

  /**
   * A pool of small blocks of coherent memory (dma_pool_create). Its name, cut to 31 characters, is for messages.
   * @throws DmaError EINVAL options · ENOMEM, ENOSPC no memory for the first `blocks` · ENODEV closed
   */
  createPool(name: string, options: PoolOptions): DmaPool {
    return this.#allocations.createPool(name, options);
  }

  /**
   * Map the bytes of a view for the device (dma_map_single): in place where that is possible, else through a copy;
   * `way` of the result tells. The CPU must not touch them until `unmap` or `syncForCpu`.
   * @param attributes members of DMA_ATTR, combined with |
   * @throws DmaError EINVAL direction, attributes, or a view that is empty, detached, resizable or shared · ENOMEM too
   *   long to bounce, or no room · EPERM DMA_ATTR.REQUIRE_COHERENT and a copy or a sync would be needed · ENODEV closed
   */
  mapSingle(view: ArrayBufferView, direction: DmaDirection, attributes = 0): StreamingMapping {
    return this.streaming.mapSingle(view, direction, attributes);
  }

  /**
   * Map a list of views for the device (dma_map_sg, dma_map_sgtable), all of it or nothing. Neighbours that become
   * contiguous for the device are one segment of the result, within `limits`; without an IOMMU none are.
   * @param attributes members of DMA_ATTR, combined with |
   * @throws DmaError EINVAL an empty list, or what `mapSingle` refuses in any element · ENOMEM no room: retry later ·
   *   EIO anything else that kept an element from being mapped · ENODEV closed
   */
  mapSg(views: readonly ArrayBufferView[], direction: DmaDirection, attributes = 0): SgMapping {
    return this.#lists.mapSg(views, direction, attributes);
  }

  /**
   * Map registers of a function for the device (dma_map_resource): bytes [offset, offset + size) of a BAR, of another
   * function or its own, whole pages of the IOMMU. The device reads and writes the registers there; `way` is
   * 'resource', and syncs do nothing. Unmap before the function they belong to is closed: until then it stays open for
   * the kernel, and cannot be opened again.
   * @param attributes members of DMA_ATTR, combined with |
   * @throws DmaError EINVAL direction, attributes, an I/O BAR, or not whole pages inside the BAR · EREMOTEIO there is
   *   no way to the registers: no IOMMU, or a function of another world · EFAULT they do not answer (memory decode is
   *   off) · ENOMEM no address · ENOSPC no mappings left · ENODEV closed, or the BAR's function is
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
   * Addresses to link memory into, piece by piece (dma_iova_try_alloc); null when there are none under the streaming
   * mask or the device has no IOMMU: use `mapSg` then.
   * @param size bytes @param first the view that will be linked at offset 0, when it starts inside a granule
   * @throws DmaError EINVAL size, view · ENODEV closed
   */
  reserveIova(size: number, first?: ArrayBufferView): IovaState | null {
    return this.#allocations.reserveIova(size, first, maskLimit(this.#mask));
  }

  /** Whether syncs of this mapping do anything (dma_need_sync). @throws DmaError EINVAL once unmapped */
  needSync(mapping: StreamingMapping): boolean {
    if (!(mapping instanceof StreamingMapping)) {
      throw argumentError('the mapping', mapping, 'pass what mapSingle or mapResource returned');
    }
    return mapping.needSync;
  }

  /**
   * Device address of the first byte of a view of memory that this device, or another one in its domain, allocated
   * (coherent, noncoherent, a pool's block).
   * @throws DmaError EINVAL foreign or freed memory: map it
   */
  addressOf(view: ArrayBufferView): bigint {
    const address = this.own.addressOf(view);
    if (address !== undefined) return address;
    throw new DmaError('EINVAL', `${this.name}: these bytes have no address for the device`, {
      remedy: 'map them, or use memory that the device allocated and that is not freed',
    });
  }

  /** Limits of mappings: segment size and boundary, alignment, longest mapping. */
  get limits(): DmaLimits {
    return this.streaming.limits;
  }

  /** Whether the masks leave out memory that the device may be given (dma_addressing_limited). */
  get addressingLimited(): boolean {
    return this.#mask < this.requiredMask;
  }

  /** Counters of the bounce buffer. */
  get bounceStats(): BounceStats {
    return this.streaming.bounce.stats;
  }

  /** dma-debug of this device; undefined when it was opened without. */
  get debug(): DmaDebugView | undefined {
    return undefined;
  }

  /** The live allocations, oldest first. */
  get live(): readonly Held[] {
    return this.#allocations.live;
  }

  /**
   * The device is gone (PciFunction.gone). Allocations, mappings and changes of the masks throw this error from here
   * on. Live allocations and mappings stay until they are freed or unmapped, or `close` is called.
   * @internal
   */
  abandon(error: DmaError): void {
    if (this.#lifetime.closed) return;
    this.#lifetime.abandon(error);
    this.#allocations.abandon(error);
    this.#operations.abandon(error);
  }

  /**
   * Free and unmap everything: every view has length 0 afterwards, and every mapping is over. The device must have been
   * stopped before (PciFunction.close does). Harmless to call twice.
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

/** The cache maintenance that the caller passes, or that of the memory. */
function cacheFor(options: DmaDeviceOptions): CacheMaintenance | undefined {
  const { memory, addressSpace, cache } = options;
  return cache ?? (memory !== undefined && addressSpace === undefined ? memory.cache : undefined);
}
