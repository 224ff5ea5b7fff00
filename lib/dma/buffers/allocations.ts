/**
 * The live allocations of a device: coherent, noncoherent and declared memory, pools, reserved addresses. Streaming
 * mappings are elsewhere (streaming.ts, scatter-gather.ts), because their memory is not the device's.
 *
 *      declared memory, if any      one region, whose address the driver knows     declared.ts
 *      operations                   everything else                                operations.ts
 */

import { argumentError, checkOptions, checkSize } from '../../arguments.ts';
import type { CacheMaintenance } from '../../cache.ts';
import { type DmaDirection, directionBits } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import { accessFor } from '../../iommu/access.ts';
import {
  type DeclarableMemory,
  type DeclaredInfo,
  DeclaredMemory,
  type DeclareOptions,
  nothingDeclared,
} from '../declared/declared.ts';
import { CoherentIoBuffer, type CoherentIoOwner, type IoPlace } from '../declared/io.ts';
import { type IovaOwner, IovaState } from '../iova/state.ts';
import type { DeviceRange } from '../operations/device-range.ts';
import type { DmaOperations } from '../operations/operations.ts';
import type { OwnMemory, OwnRegion } from '../operations/own-memory.ts';
import type { PinningContext } from '../placement/mapped-view.ts';
import { roundUp } from '../placement/segments.ts';
import { POOL_CHECKS, type PoolOptions } from '../pool/layout.ts';
import { DmaPool, type PoolOwner } from '../pool/pool.ts';
import type { Lifetime } from '../words/lifetime.ts';
import type { Misuse } from '../words/misuse.ts';
import { cacheSync } from './cache-sync.ts';
import { CoherentBuffer, type CoherentOwner } from './coherent.ts';
import { NoncoherentBuffer, type NoncoherentOwner } from './noncoherent.ts';
import {
  checkNoncontiguousAttributes,
  NoncontiguousBuffer,
  type NoncontiguousOwner,
} from './noncontiguous.ts';

/** A live allocation of a device. */
export type Held =
  | CoherentBuffer
  | CoherentIoBuffer
  | NoncoherentBuffer
  | NoncontiguousBuffer
  | DmaPool
  | IovaState;

/** The device that the allocations are for. */
export interface AllocatingDevice {
  /** The name for messages. */
  readonly name: string;
  readonly operations: DmaOperations;
  readonly own: OwnMemory;
  readonly cache: CacheMaintenance | undefined;
  readonly pinning: PinningContext;
  /** The highest address of coherent memory: the coherent mask. */
  readonly limit: number;
  readonly lifetime: Lifetime;
  makePool(name: string, options: PoolOptions, owner: PoolOwner): DmaPool;
}

/** All allocations of one device. */
export class Allocations implements CoherentOwner, CoherentIoOwner, NoncoherentOwner, NoncontiguousOwner {
  readonly #device: AllocatingDevice;
  readonly #operations: DmaOperations;
  readonly #own: OwnMemory;
  readonly #cache: CacheMaintenance | undefined;
  /** The live allocations, oldest first. */
  readonly #held = new Set<Held>();
  #declared: DeclaredMemory | undefined;
  #limit: number;
  readonly #lifetime: Lifetime;

  constructor(device: AllocatingDevice) {
    this.#device = device;
    this.#lifetime = device.lifetime;
    this.#operations = device.operations;
    this.#own = device.own;
    this.#cache = device.cache;
    this.#limit = device.limit;
  }

  /** The live allocations, oldest first. */
  get live(): readonly Held[] {
    return [...this.#held];
  }

  get declared(): DeclaredInfo | undefined {
    return this.#declared;
  }

  /** Set the highest address of later allocations. */
  setLimit(limit: number): void {
    this.#limit = limit;
  }

  /** This and the next methods do the work of the DmaDevice methods with the same names. */
  allocCoherent(size: number, managed: boolean | undefined): CoherentBuffer {
    this.#lifetime.check();
    checkSize(size, 'the size of a coherent buffer');
    const buffer = new CoherentBuffer(this, this.#takeCoherent(size, this.#limit), managed);
    this.hold(buffer);
    return buffer;
  }

  allocCoherentIo(size: number): CoherentIoBuffer {
    checkSize(size, 'the size of a coherent buffer');
    const declared = this.#declaration();
    const place = declared.allocateIo(size);
    // Zeroing writes to the BAR. A model behind the BAR may call back into this object.
    if (this.#declared !== declared) throw nothingDeclared(this.#device.name);
    return this.#holdIo(place);
  }

  declareCoherentMemory(
    memory: DeclarableMemory,
    deviceAddress: bigint,
    size: number,
    options: DeclareOptions | undefined,
  ): void {
    this.#lifetime.check();
    const { granule } = this.#operations;
    const declared = new DeclaredMemory(this.#own, granule, memory, deviceAddress, size, options);
    if (this.#declared !== undefined) {
      throw new DmaError(
        'EBUSY',
        `${this.#device.name} has ${this.#declared.size} bytes of declared memory`,
        {
          remedy: 'release that first, there can be one',
        },
      );
    }
    this.#declared = declared;
  }

  releaseDeclaredMemory(): void {
    if (this.#lifetime.closed) throw this.#lifetime.error;
    if (this.#declared === undefined) throw nothingDeclared(this.#device.name);
    this.#declared.giveAll();
    this.#declared = undefined;
    for (const held of [...this.#held].reverse()) {
      if (!('orphaned' in held) || !held.orphaned) continue;
      held.revoke();
      this.forget(held);
    }
  }

  markDeclaredMemoryOccupied(deviceAddress: bigint, size: number): CoherentBuffer {
    const buffer = new CoherentBuffer(this, this.#declaration().occupy(deviceAddress, size));
    this.hold(buffer);
    return buffer;
  }

  markDeclaredIoOccupied(deviceAddress: bigint, size: number): CoherentIoBuffer {
    return this.#holdIo(this.#declaration().occupyIo(deviceAddress, size));
  }

  allocNoncoherent(size: number, direction: DmaDirection): NoncoherentBuffer {
    this.#lifetime.check();
    checkSize(size, 'the size of a noncoherent buffer');
    const bits = directionBits(direction);
    const range = this.#operations.allocate(size, this.#limit, accessFor(bits), 'noncoherent');
    const region = this.#enterNoncoherent(range, range.buffers[0]!, range.address, size, bits);
    const buffer = new NoncoherentBuffer(this, region, direction);
    this.hold(buffer);
    return buffer;
  }

  allocPages(size: number, direction: DmaDirection): NoncoherentBuffer {
    checkSize(size, 'the size of pages');
    return this.allocNoncoherent(roundUp(size, this.#operations.granule), direction);
  }

  allocNoncontiguous(size: number, direction: DmaDirection, attributes: number): NoncontiguousBuffer {
    this.#lifetime.check();
    checkSize(size, 'the size of a noncontiguous buffer');
    directionBits(direction);
    checkNoncontiguousAttributes(attributes);
    const range = this.#operations.allocatePieces(size, this.#limit);
    let { address } = range;
    const regions = range.buffers.map((piece) => {
      const region = this.#enterNoncoherent(range, piece, address, piece.byteLength);
      address += region.span;
      return region;
    });
    const buffer = new NoncontiguousBuffer(this, regions, direction);
    this.hold(buffer);
    return buffer;
  }

  cacheSync(view: ArrayBufferView, direction: DmaDirection): void {
    this.#lifetime.check();
    cacheSync(this.#own, this.#cache, view, direction);
  }

  createPool(name: string, options: PoolOptions): DmaPool {
    this.#lifetime.check();
    if (options === undefined) throw argumentError('the options of createPool', options, 'pass { size }');
    checkOptions<PoolOptions>(options, 'createPool', POOL_CHECKS);
    const owner: PoolOwner = {
      granule: this.#operations.granule,
      coherentLimit: () => this.#limit,
      allocate: (size, limit) => this.#takeCoherent(size, limit),
      release: (region) => this.#release(region),
      forgetPool: (pool) => this.forget(pool),
    };
    const pool = this.#device.makePool(name, options, owner);
    this.hold(pool);
    return pool;
  }

  /** @param streamingLimit the highest address of the range */
  reserveIova(size: number, first: ArrayBufferView | undefined, streamingLimit: number): IovaState | null {
    this.#lifetime.check();
    const owner: IovaOwner = {
      name: this.#device.name,
      own: this.#own,
      pinning: this.#device.pinning,
      forgetIova: (gone) => this.forget(gone),
      refuse: (misuse, handle, error) => this.refuse(misuse, handle, error),
    };
    const state = IovaState.reserve(owner, size, first, streamingLimit);
    if (state !== null) this.hold(state);
    return state;
  }

  releaseBuffer(buffer: CoherentBuffer | NoncoherentBuffer, region: OwnRegion): void {
    this.forget(buffer);
    this.#release(region);
  }

  releaseIo(buffer: CoherentIoBuffer, place: IoPlace): void {
    this.forget(buffer);
    this.#declared?.give(place);
  }

  releasePieces(buffer: NoncontiguousBuffer, regions: readonly OwnRegion[]): void {
    this.forget(buffer);
    for (const region of regions) this.#own.remove(region);
    this.#operations.release(regions[0]!.range!);
  }

  syncPieceForCpu({ direction }: NoncontiguousBuffer, piece: OwnRegion, offset: number, size: number): void {
    this.#cache?.syncForCpu(piece.buffer, offset, size, direction);
  }

  syncPieceForDevice(
    { direction }: NoncontiguousBuffer,
    piece: OwnRegion,
    offset: number,
    size: number,
  ): void {
    this.#cache?.syncForDevice(piece.buffer, offset, size, direction);
  }

  syncBufferForCpu({ buffer, direction }: NoncoherentBuffer, offset: number, size: number): void {
    this.#cache?.syncForCpu(buffer, offset, size, direction);
  }

  syncBufferForDevice({ buffer, direction }: NoncoherentBuffer, offset: number, size: number): void {
    this.#cache?.syncForDevice(buffer, offset, size, direction);
  }

  /** Return the error to throw: `error`. dma-debug overrides this. */
  refuse(_misuse: Misuse, _held: Held, error: DmaError): DmaError {
    return error;
  }

  /** The device is gone: pools allocate no more blocks, even if they have free ones. */
  abandon(error: DmaError): void {
    for (const held of this.#held) if (held instanceof DmaPool) held.abandon(error);
  }

  /**
   * The device is closing: views end with the operations. The newest allocation ends first, as with the kernel's
   * devres.
   */
  close(): void {
    for (const held of [...this.#held].reverse()) held.revoke();
    this.#held.clear();
    this.#declared?.giveAll();
    this.#declared = undefined;
  }

  /** Enter an allocation. */
  protected hold(held: Held): void {
    this.#held.add(held);
  }

  /** Remove an allocation that was freed. */
  protected forget(held: Held): void {
    this.#held.delete(held);
  }

  /** Allocate from declared memory if possible. Otherwise allocate memory and map it under `limit`. */
  #takeCoherent(size: number, limit: number): OwnRegion {
    const declared = this.#declared?.allocate(size);
    if (declared !== undefined) return declared;
    const range = this.#operations.allocate(size, limit);
    // The object is built field by field: copying one with `...` costs as much as the rest of an allocation.
    const { buffers, address, span } = range;
    return this.#own.add({ buffer: buffers[0]!, address, size, span, coherent: true, range });
  }

  /** Enter one buffer of a range. @param address the device address of its first byte */
  #enterNoncoherent(
    range: DeviceRange,
    buffer: ArrayBuffer,
    address: number,
    size: number,
    bits?: number,
  ): OwnRegion {
    const coherent = this.#cache === undefined;
    const span = roundUp(size, this.#operations.granule);
    return this.#own.add({ buffer, address, size, span, coherent, bits, noncoherent: true, range });
  }

  #release(region: OwnRegion): void {
    if (region.declared) {
      this.#declared?.give(region);
      return;
    }
    this.#own.remove(region);
    this.#operations.release(region.range!);
  }

  #declaration(): DeclaredMemory {
    this.#lifetime.check();
    if (this.#declared === undefined) throw nothingDeclared(this.#device.name);
    return this.#declared;
  }

  #holdIo(place: IoPlace): CoherentIoBuffer {
    const buffer = new CoherentIoBuffer(this, place);
    this.hold(buffer);
    return buffer;
  }
}
