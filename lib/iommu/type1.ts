/**
 * The IOMMU as VFIO's type1 driver offers it (drivers/vfio/vfio_iommu_type1.c, version 2 semantics).
 *
 *      container (/dev/vfio/vfio) --- this address space: mappings
 *          group (/dev/vfio/N)    --- the functions that see it
 *
 * Mapping pins pages: the kernel counts them as locked memory, and the device keeps them however the process
 * changes its own memory meanwhile. So memory that is not of this library is kept from being freed while it is
 * mapped, also when its buffer is transferred or collected.
 */

import { readFileSync } from 'node:fs';
import { describe } from '../arguments.ts';
import { DmaError, type ErrnoName, errnoName } from '../errors.ts';
import type { Handle } from '../native/addon.ts';
import { VFIO_MAP, type VfioFunctions } from '../native/vfio.ts';
import type { Access } from './access.ts';
import type { AddressSpace, IovaRange, MmioWindow } from './address-space.ts';
import { memlockRemedy, readMemlock } from './memlock.ts';
import { usableRanges } from './usable-ranges.ts';
import { VfioWindow } from './vfio-window.ts';

/** The result of the native functions for a bad argument. */
const EINVAL = -22;

type Type1Functions = Pick<
  VfioFunctions,
  | 'vfioIommuInfo'
  | 'vfioCanMapForeign'
  | 'vfioMap'
  | 'vfioMapWindow'
  | 'vfioUnmap'
  | 'vfioPageOffset'
  | 'vfioContainerClose'
>;

/** The address space of a VFIO container (VFIO_TYPE1v2_IOMMU). */
export class Type1AddressSpace implements AddressSpace {
  readonly name = 'type1';
  readonly pinsForeignMemory: boolean;
  readonly pageSize: number;
  readonly ranges: readonly IovaRange[];
  readonly #native: Type1Functions;
  readonly #container: Handle;
  #closed = false;

  /**
   * @param container with its groups attached and the IOMMU chosen; it belongs to this object from here on, unless
   *   the constructor throws
   * @param reserved addresses that the kernel would map but must not be used, such as those of other functions
   * @throws DmaError EOPNOTSUPP the kernel does not tell which addresses are valid
   */
  constructor(native: Type1Functions, container: Handle, reserved: readonly IovaRange[] = []) {
    const info = native.vfioIommuInfo(container);
    if (typeof info === 'number') {
      throw new DmaError(errnoName(info), 'the kernel does not say which addresses a device may use', {
        syscall: 'VFIO_IOMMU_GET_INFO',
        remedy: 'use Linux 5.4 or newer',
      });
    }
    this.#native = native;
    this.#container = container;
    this.pinsForeignMemory = native.vfioCanMapForeign();
    this.pageSize = Number(info.pageSizes & -info.pageSizes);
    this.ranges = usableRanges(info.ranges, reserved, this.pageSize);
  }

  pageOffset(buffer: ArrayBufferLike): number {
    const result = isResizable(buffer) ? EINVAL : this.#native.vfioPageOffset(buffer, this.pageSize);
    if (result >= 0) return result;
    throw new DmaError('EINVAL', 'the buffer is resizable, shared, detached or no ArrayBuffer', {
      remedy: 'pass a live ArrayBuffer of fixed length',
    });
  }

  map(iova: number, buffer: ArrayBufferLike, offset: number, size: number, access: Access): void {
    if (this.#closed) throw closedError();
    if (!this.#usable(iova, size)) throw this.#unusable(iova, size);
    const result = isResizable(buffer)
      ? EINVAL
      : this.#native.vfioMap(this.#container, iova, buffer, offset, size, VFIO_MAP[access]);
    if (result < 0) throw this.#mapError(result, iova, buffer, offset, size);
  }

  /** As long as it is mapped, the function keeps its registers and is open for the kernel, also once it is closed. */
  mapWindow(iova: number, window: MmioWindow, offset: number, size: number, access: Access): void {
    if (this.#closed) throw closedError();
    if (!(window instanceof VfioWindow)) {
      throw new DmaError('EREMOTEIO', 'these are not the registers of a function behind VFIO', {
        remedy: 'open both functions through VFIO, or simulate both',
      });
    }
    if (!this.#usable(iova, size)) throw this.#unusable(iova, size);
    const { handle } = window;
    const result = this.#native.vfioMapWindow(this.#container, iova, handle, offset, size, VFIO_MAP[access]);
    if (result < 0) throw this.#mapWindowError(result, iova, window, offset, size);
  }

  unmap(iova: number, size: number): number {
    if (this.#closed) throw closedError();
    const result = this.#native.vfioUnmap(this.#container, iova, size);
    if (result >= 0) return result;
    if (this.#misaligned(iova, size) === undefined && this.#deserted) return 0;
    throw this.#unmapError(result, iova, size);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // While a device is still open the container stays, and with it every mapping that is not taken out here.
    this.#native.vfioUnmap(this.#container, 0, Number.MAX_SAFE_INTEGER - (this.pageSize - 1));
    this.#native.vfioContainerClose(this.#container);
  }

  /** Whether the groups that were added since leave all addresses usable. */
  get unchanged(): boolean {
    const info = this.#native.vfioIommuInfo(this.#container);
    if (typeof info === 'number' || Number(info.pageSizes & -info.pageSizes) !== this.pageSize) return false;
    const now = usableRanges(info.ranges, [], this.pageSize);
    return this.ranges.every(({ start, end }) => now.some((one) => one.start <= start && end <= one.end));
  }

  /**
   * Once the last function of its groups was removed from the system, the kernel has taken back every mapping itself.
   */
  get #deserted(): boolean {
    return typeof this.#native.vfioIommuInfo(this.#container) === 'number';
  }

  #usable(iova: number, size: number): boolean {
    if (!(iova % this.pageSize === 0 && size % this.pageSize === 0 && size > 0)) return false;
    for (const { start, end } of this.ranges) if (iova >= start && iova + size - 1 <= end) return true;
    return false;
  }

  #unusable(iova: number, size: number): DmaError {
    const misaligned = this.#misaligned(iova, size);
    if (misaligned !== undefined) return misaligned;
    const list = this.ranges.map(({ start, end }) => `${hex(start)}-${hex(end)}`).join(', ');
    return new DmaError('EINVAL', `${span(iova, size)} is not usable behind this IOMMU`, {
      remedy: `stay inside one of ${list}`,
    });
  }

  #misaligned(iova: number, size: number): DmaError | undefined {
    const whole = (value: number): boolean =>
      Number.isSafeInteger(value) && value >= 0 && value % this.pageSize === 0;
    if (whole(iova) && whole(size) && size > 0) return undefined;
    return new DmaError('EINVAL', `${describe(size)} bytes at ${hex(iova)} are not whole IOMMU pages`, {
      remedy: `use an address and a size that are multiples of ${this.pageSize}, and a size above 0`,
    });
  }

  #mapError(errno: number, iova: number, buffer: ArrayBufferLike, offset: number, size: number): DmaError {
    const code = errnoName(errno);
    switch (code) {
      case 'EBADF':
        return closedError();
      case 'ENOMEM':
        return fail(
          code,
          `${size} bytes cannot be locked in memory for DMA`,
          memlockRemedy(size, readMemlock()) ?? 'the kernel has no memory left: free some',
        );
      case 'EFAULT':
        return fail(
          code,
          `${size} bytes of memory cannot be pinned for DMA`,
          'VFIO takes no memory that another driver has mapped (a dma-buf, a dma-heap) and no file on disk: allocate ' +
            'from the device (allocCoherent), copy there, and exportDmaBuf() that to share it',
        );
      case 'EINVAL':
        return fail(
          code,
          `bytes ${describe(offset)} to ${describe(offset + size)} of a buffer of ${buffer?.byteLength} cannot be mapped`,
          'pass an ArrayBuffer that is not shared, resizable or detached, and whole pages of it that start on a ' +
            `${this.pageSize}-byte boundary of memory`,
        );
      default:
        return refusal(code, iova, size);
    }
  }

  #mapWindowError(errno: number, iova: number, window: MmioWindow, offset: number, size: number): DmaError {
    const code = errnoName(errno);
    switch (code) {
      case 'EBADF':
        return new DmaError('ENODEV', 'the function whose registers these are is closed', {
          remedy: 'open it again, and take its BAR from there',
        });
      case 'EFAULT':
        return fail(
          code,
          'the function whose registers these are does not answer',
          'enable memory decode (command register bit 1) and power state D0 of it',
        );
      case 'EINVAL':
        return fail(
          code,
          `bytes ${describe(offset)} to ${describe(offset + size)} of a BAR of ${window.size} cannot be mapped`,
          `map whole multiples of ${this.pageSize} bytes, and nothing that the kernel keeps to itself (MSI-X)`,
        );
      default:
        return refusal(code, iova, size);
    }
  }

  #unmapError(errno: number, iova: number, size: number): DmaError {
    const code = errnoName(errno);
    if (code === 'EBADF') return closedError();
    const misaligned = this.#misaligned(iova, size);
    if (misaligned !== undefined) return misaligned;
    return new DmaError(code, `unmapping ${span(iova, size)} would cut a mapping in two`, {
      syscall: 'VFIO_IOMMU_UNMAP_DMA',
      remedy: 'unmap what was mapped, whole',
    });
  }
}

/** Its end may move while the device has it. */
function isResizable(buffer: ArrayBufferLike): boolean {
  return (buffer as { readonly resizable?: boolean } | undefined)?.resizable === true;
}

/** The errors of VFIO_IOMMU_MAP_DMA that concern the addresses, for memory and registers alike. */
function refusal(code: ErrnoName, iova: number, size: number): DmaError {
  switch (code) {
    case 'EEXIST':
      return fail(code, `${span(iova, size)} overlaps a mapping that is there`, 'unmap that one first');
    case 'ENOSPC':
      return fail(
        code,
        `the IOMMU driver takes no more mappings (its limit is ${entryLimit()})`,
        'free some, use fewer and larger buffers, or load vfio_iommu_type1 with a larger dma_entry_limit',
      );
    default:
      return fail(
        code,
        `mapping ${span(iova, size)} failed with ${code}`,
        'the kernel log (dmesg) may say why',
      );
  }
}

function fail(code: ErrnoName, what: string, remedy: string): DmaError {
  return new DmaError(code, what, { syscall: 'VFIO_IOMMU_MAP_DMA', remedy });
}

function closedError(): DmaError {
  return new DmaError('ENODEV', 'the address space is closed', { remedy: 'open the function again' });
}

function entryLimit(): string {
  try {
    return readFileSync('/sys/module/vfio_iommu_type1/parameters/dma_entry_limit', 'utf8').trim();
  } catch {
    return '65535 unless changed';
  }
}

function span(iova: number, size: number): string {
  return `${hex(iova)}-${hex(iova + size - 1)}`;
}

function hex(value: number): string {
  return Number.isSafeInteger(value) && value >= 0 ? `0x${value.toString(16)}` : String(value);
}
