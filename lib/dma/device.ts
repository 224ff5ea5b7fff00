/**
 * A device as the DMA API sees it (struct device): masks, and the memory it can reach. Knows no bus and no
 * operating system; what it stands on comes in through the constructor.
 */
import { checkSize, DmaError } from '../errors.ts';
import type { AddressSpace } from '../iommu/address-space.ts';
import type { AddressedMemory } from '../memory/addressed.ts';
import type { MemorySource } from '../memory/source.ts';
import type { BounceStats } from './bounce.ts';
import type { CacheMaintenance } from './cache.ts';
import { CoherentBuffer, type CoherentOwner } from './coherent.ts';
import type { DmaDebugView } from './debug-view.ts';
import { DirectOperations } from './direct-operations.ts';
import { accessFor, type DmaDirection, directionBits } from './direction.ts';
import { IommuOperations } from './iommu-operations.ts';
import { type IovaOwner, IovaState } from './iova-state.ts';
import type { DmaLimits } from './limits.ts';
import type { StreamingMapping } from './mapping.ts';
import { checkMask, DEFAULT_MASK, maskLimit } from './mask.ts';
import type { Misuse } from './misuse.ts';
import { NoncoherentBuffer, type NoncoherentOwner } from './noncoherent.ts';
import type { Allocation, DmaOperations } from './operations.ts';
import { OwnMemory, type OwnRegion } from './own-memory.ts';
import { type DeviceParts, PLAIN_PARTS } from './parts.ts';
import type { DmaPool, PoolOwner } from './pool.ts';
import type { PoolOptions } from './pool-layout.ts';
import type { RegisterSource, ResourceMappings } from './resource.ts';
import type { ScatterGather } from './scatter-gather.ts';
import type { SgMapping } from './sg-mapping.ts';
import type { Streaming, StreamingOptions } from './streaming.ts';

export interface DeviceOptions extends StreamingOptions {
  /** For messages, e.g. the PCI address. */
  readonly name: string;
}

/** A device behind an IOMMU. Memory and address space belong to it from here on: closing it closes them. */
export interface TranslatedDeviceOptions extends DeviceOptions {
  readonly memory: MemorySource;
  readonly addressSpace: AddressSpace;
}

/** A device without an IOMMU: the memory, which belongs to it from here on, dictates the addresses. */
export interface DirectDeviceOptions extends DeviceOptions {
  readonly memory: AddressedMemory;
  readonly addressSpace?: undefined;
}

export type DmaDeviceOptions = TranslatedDeviceOptions | DirectDeviceOptions;

/** What a device hands out until it is given back. */
export type Held = CoherentBuffer | NoncoherentBuffer | DmaPool | IovaState;

export class DmaDevice implements CoherentOwner, NoncoherentOwner {
  readonly name: string;
  /** How CPU and device are made to agree; undefined on a coherent device. */
  readonly cache: CacheMaintenance | undefined;

  readonly #parts: DeviceParts;
  readonly #operations: DmaOperations;
  readonly #own: OwnMemory;
  readonly #streaming: Streaming;
  /** What was allocated and not given back, oldest first. */
  readonly #held = new Set<Held>();
  readonly #lists: ScatterGather;
  readonly #resources: ResourceMappings;
  #mask = DEFAULT_MASK;
  #coherentMask = DEFAULT_MASK;
  #closed = false;

  /** @param parts what it is built of; debugging brings its own */
  constructor(options: DmaDeviceOptions, parts: DeviceParts = PLAIN_PARTS) {
    this.name = options.name;
    this.cache = options.cache;
    const operations = operationsFor(options);
    this.#operations = operations;
    this.#own = new OwnMemory(operations.granule);
    this.#parts = parts;
    this.#streaming = parts.streaming(
      { name: options.name, operations, own: this.#own },
      maskLimit(this.#mask),
      options,
    );
    this.#lists = parts.lists({
      name: options.name,
      operations,
      own: this.#own,
      streaming: this.#streaming,
      cache: options.cache,
      limit: maskLimit(this.#mask),
    });
    this.#resources = parts.resources({ name: options.name, operations });
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
    this.#streaming.setLimit(maskLimit(mask));
    this.#lists.setLimit(maskLimit(mask));
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
    const memory = this.#operations.allocate(size, maskLimit(this.#coherentMask));
    const buffer = new CoherentBuffer(this, this.#enter(memory, size, true));
    this.#held.add(buffer);
    return buffer;
  }

  /**
   * Memory that CPU and device take turns with (dma_alloc_noncoherent): as `allocCoherent`, but cached where the two
   * differ, and given to the device only for `direction`. Syncs hand it over.
   * @throws DmaError EINVAL size, direction · otherwise as `allocCoherent`
   */
  allocNoncoherent(size: number, direction: DmaDirection): NoncoherentBuffer {
    this.#checkOpen();
    checkSize(size, 'the size of a noncoherent buffer');
    const bits = directionBits(direction);
    const limit = maskLimit(this.#coherentMask);
    const memory = this.#operations.allocate(size, limit, accessFor(bits), 'noncoherent');
    const region = this.#enter(memory, size, this.cache === undefined, bits);
    const buffer = new NoncoherentBuffer(this, region, direction);
    this.#held.add(buffer);
    return buffer;
  }

  /**
   * A pool of small blocks of coherent memory (dma_pool_create). Its name, cut to 31 characters, is for messages.
   * @throws DmaError EINVAL options · ENOMEM, ENOSPC no memory for the first `blocks` · ENODEV closed
   */
  createPool(name: string, options: PoolOptions): DmaPool {
    this.#checkOpen();
    const owner: PoolOwner = {
      granule: this.#operations.granule,
      coherentLimit: () => maskLimit(this.#coherentMask),
      allocate: (size, limit) => this.#enter(this.#operations.allocate(size, limit), size, true),
      release: (region) => this.#release(region),
      forgetPool: (pool) => this.forget(pool),
    };
    const pool = this.#parts.pool(name, options, owner);
    this.#held.add(pool);
    return pool;
  }

  /**
   * Lend the bytes of a view to the device (dma_map_single): in place where that is possible, else through a copy;
   * `way` of the result tells. The CPU must not touch them until `unmap` or `syncForCpu`.
   * @param attributes members of DMA_ATTR, combined with |
   * @throws DmaError EINVAL direction, attributes, or a view that is empty, detached, resizable or shared · ENOMEM too
   *   long to bounce, or no room · EPERM DMA_ATTR.REQUIRE_COHERENT and a copy or a sync would be needed · ENODEV closed
   */
  mapSingle(view: ArrayBufferView, direction: DmaDirection, attributes = 0): StreamingMapping {
    return this.#streaming.mapSingle(view, direction, attributes);
  }

  /**
   * Lend a list of views to the device (dma_map_sg, dma_map_sgtable), all of it or nothing. Neighbours that become
   * contiguous for the device are one segment of the result, within `limits`; without an IOMMU none are.
   * @param attributes members of DMA_ATTR, combined with |
   * @throws DmaError EINVAL an empty list, or what `mapSingle` refuses in any element · ENOMEM no room: retry later ·
   *   EIO anything else that kept an element from being mapped · ENODEV closed
   */
  mapSg(views: readonly ArrayBufferView[], direction: DmaDirection, attributes = 0): SgMapping {
    return this.#lists.mapSg(views, direction, attributes);
  }

  /**
   * Lend registers of a function to the device (dma_map_resource): bytes [offset, offset + size) of a BAR, of another
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
    return this.#resources.map(bar, offset, size, direction, attributes, maskLimit(this.#mask));
  }

  /**
   * Addresses to link memory into, piece by piece (dma_iova_try_alloc); null when there are none under the streaming
   * mask or the device has no IOMMU: use `mapSg` then.
   * @param size bytes @param first the view that will be linked at offset 0, when it starts inside a granule
   * @throws DmaError EINVAL size, view · ENODEV closed
   */
  reserveIova(size: number, first?: ArrayBufferView): IovaState | null {
    this.#checkOpen();
    const owner: IovaOwner = {
      name: this.name,
      own: this.#own,
      pinning: this.#streaming.pinning,
      forgetIova: (gone) => this.forget(gone),
      refuse: (misuse, handle, error) => this.refuse(misuse, handle, error),
    };
    const state = IovaState.reserve(owner, size, first, maskLimit(this.#mask));
    if (state !== null) this.#held.add(state);
    return state;
  }

  /** Whether syncs of this mapping do anything (dma_need_sync). @throws DmaError EINVAL once unmapped */
  needSync(mapping: StreamingMapping): boolean {
    return mapping.needSync;
  }

  /**
   * Device address of the first byte of a view of this device's own memory (coherent, noncoherent, a pool's block).
   * @throws DmaError EINVAL foreign or freed memory: map it
   */
  addressOf(view: ArrayBufferView): bigint {
    const address = this.#own.addressOf(view);
    if (address !== undefined) return address;
    throw new DmaError('EINVAL', `${this.name}: these bytes have no address for the device`, {
      remedy: 'map them, or use memory that the device allocated and that is not freed',
    });
  }

  /** What the device can take at once: segment size and boundary, alignment, longest mapping. */
  get limits(): DmaLimits {
    return this.#streaming.limits;
  }

  /** Whether the masks leave out memory that the device may be given (dma_addressing_limited). */
  get addressingLimited(): boolean {
    return this.#mask < this.requiredMask;
  }

  /** What bouncing has taken and copied so far. */
  get bounceStats(): BounceStats {
    return this.#streaming.bounce.stats;
  }

  /** Called when a buffer is freed. */
  releaseBuffer(buffer: CoherentBuffer | NoncoherentBuffer, region: OwnRegion): void {
    this.forget(buffer);
    this.#release(region);
  }

  /** Called by a noncoherent buffer: bytes of it are the CPU's from here on. */
  syncBufferForCpu({ buffer, direction }: NoncoherentBuffer, offset: number, size: number): void {
    this.cache?.syncForCpu(buffer, offset, size, direction);
  }

  /** Called by a noncoherent buffer: bytes of it are the device's from here on. */
  syncBufferForDevice({ buffer, direction }: NoncoherentBuffer, offset: number, size: number): void {
    this.cache?.syncForDevice(buffer, offset, size, direction);
  }

  /** Called when something that was handed out has been given back. */
  forget(held: Held): void {
    this.#held.delete(held);
  }

  /** Called when something is used after it was given back, or outside its bounds: `error` will be thrown. */
  refuse(_misuse: Misuse, _held: Held, error: DmaError): DmaError {
    return error;
  }

  /** dma-debug of this device; undefined when it was opened without. */
  get debug(): DmaDebugView | undefined {
    return undefined;
  }

  /** What was allocated and not given back, oldest first. */
  get live(): readonly Held[] {
    return [...this.#held];
  }

  /**
   * Take everything back: every view has length 0 afterwards and every mapping is gone. The device must have been
   * stopped before (PciFunction.close does). Harmless to call twice.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#lists.close();
    this.#resources.close();
    this.#streaming.close();
    for (const held of [...this.#held].reverse()) held.revoke();
    this.#held.clear();
    this.#operations.close();
  }

  /** Field by field: copying an object with `...` costs as much as all the rest of an allocation. */
  #enter({ buffer, address, span }: Allocation, size: number, coherent: boolean, bits?: number): OwnRegion {
    return this.#own.add({ buffer, address, size, span, coherent, bits });
  }

  #release(region: OwnRegion): void {
    this.#own.remove(region);
    this.#operations.release(region);
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

function operationsFor(options: DmaDeviceOptions): DmaOperations {
  if (options.addressSpace === undefined) return new DirectOperations(options.memory);
  return new IommuOperations(options.addressSpace, options.memory);
}
