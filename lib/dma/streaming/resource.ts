/**
 * Registers of a function, mapped for a device, so that its DMA goes to them instead of to memory (dma_map_resource):
 * from one device to another, or from a device to itself. Nothing is copied or cached: a mapping consists of its
 * addresses only.
 *
 *      device A --- address ---> IOMMU of A ---> BAR of B
 *
 * The kernel rounds a resource out to whole granules of the IOMMU, and the device reaches the neighbours too. Here
 * only whole granules are accepted, so that the driver names all registers that the device can reach.
 */

import { describe } from '../../arguments.ts';
import { type DmaDirection, directionBits } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import { accessFor } from '../../iommu/access.ts';
import type { MmioWindow } from '../../iommu/address-space.ts';
import { type DmaOperations, reserveOrThrow, unreachableRegisters } from '../operations/operations.ts';
import { checkAttributes, DMA_ATTR } from '../words/attributes.ts';
import type { Lifetime } from '../words/lifetime.ts';
import type { Misuse } from '../words/misuse.ts';
import { type MappingOwner, MappingRecord } from './mapping.ts';
import { MappingTable } from './table.ts';

/** The place of registers: a `Bar`. */
export interface RegisterSource {
  /** It is undefined for registers that no DMA can reach. */
  readonly window: MmioWindow | undefined;
}

/** The device that reads and writes the registers. */
export interface ResourceDevice {
  readonly name: string;
  readonly operations: DmaOperations;
  /** True if the device sees the writes of the CPU. */
  readonly coherent: boolean;
  readonly lifetime: Lifetime;
}

/** The register mappings of one device. */
export class ResourceMappings implements MappingOwner {
  protected readonly device: ResourceDevice;
  protected readonly table = new MappingTable(this);

  constructor(device: ResourceDevice) {
    this.device = device;
  }

  /** The number of live mappings. */
  get count(): number {
    return this.table.count;
  }

  /** See `DmaDevice.mapResource`. @param limit the highest address of the mapping */
  map(
    source: RegisterSource,
    offset: number,
    size: number,
    direction: DmaDirection,
    attributes: number,
    limit: number,
  ): MappingRecord {
    const { name, operations, coherent, lifetime } = this.device;
    lifetime.check();
    const bits = directionBits(direction);
    checkAttributes(attributes);
    if ((attributes & DMA_ATTR.REQUIRE_COHERENT) !== 0 && !coherent) throw notCoherent(name);
    const window = source?.window;
    if (window === undefined) throw noRegisters();
    checkRegisters(window, offset, size, operations.granule, accessFor(bits) === 'read');
    if (!operations.reachesRegisters) throw unreachableRegisters();
    const range = reserveOrThrow(operations, size, limit);
    try {
      operations.mapWindow(range.address, window, offset, size, accessFor(bits));
    } catch (error) {
      operations.unreserve(range);
      throw error;
    }
    // As dma_map_resource does itself: the end of the mapping may say so, too.
    const record = this.table.take(size, bits, attributes | DMA_ATTR.MMIO, 'resource');
    record.address = range.address;
    record.range = range;
    return record;
  }

  unmap(record: MappingRecord): void {
    const { address, size, range } = record;
    const { operations } = this.device;
    operations.unmap(address, size);
    this.table.leave(record);
    operations.unreserve(range!);
  }

  newRecord(): MappingRecord {
    return new MappingRecord(this);
  }

  /** Registers are not cached. */
  syncForCpu(): void {}

  syncForDevice(): void {}

  needSync(): boolean {
    return false;
  }

  /** Return the error to throw: `error`. dma-debug overrides this. */
  refuse(_misuse: Misuse, _record: MappingRecord, error: DmaError): DmaError {
    return error;
  }

  /** The device is closing: its operations free the addresses. */
  close(): void {
    this.table.revoke();
  }
}

/** @throws DmaError EINVAL not whole granules inside the registers · EPERM a part of them is the host's */
export function checkRegisters(
  window: MmioWindow,
  offset: number,
  size: number,
  granule: number,
  readOnly: boolean,
): void {
  checkGranules(window, offset, size, granule);
  checkReserved(window, offset, size, readOnly);
}

function checkGranules(window: MmioWindow, offset: number, size: number, granule: number): void {
  const whole = (value: number): boolean => Number.isSafeInteger(value) && value % granule === 0;
  if (whole(offset) && whole(size) && offset >= 0 && size > 0 && size <= window.size - offset) return;
  const what = `${describe(size)} bytes at offset ${describe(offset)} of registers of ${window.size}`;
  throw new DmaError('EINVAL', `${what} cannot be mapped`, {
    remedy: `map whole multiples of ${granule} bytes, inside the BAR`,
  });
}

function checkReserved({ reserved = [] }: MmioWindow, offset: number, size: number, readOnly: boolean): void {
  for (const { start, end, readable } of reserved) {
    if (start >= offset + size || end <= offset || (readable && readOnly)) continue;
    throw new DmaError(
      'EPERM',
      `${size} bytes at offset ${offset} cannot be mapped: ${start} to ${end} are the host's (MSI-X)`,
      { remedy: 'map what is before or after them; fn.interrupts.msix arms a vector' },
    );
  }
}

/** This is refused as in dma_map_phys, which does not look at the kind of memory. */
function notCoherent(name: string): DmaError {
  return new DmaError('EPERM', `${name} is not coherent, and DMA_ATTR.REQUIRE_COHERENT was given`, {
    remedy: 'leave it out: registers are not cached',
  });
}

function noRegisters(): DmaError {
  return new DmaError('EINVAL', 'no registers that DMA could be led to', {
    remedy: 'pass a memory BAR of a function, e.g. fn.bar(0)',
  });
}
