/**
 * The common part of the address spaces of VFIO, for both interfaces of the kernel (type1.ts, iommufd.ts): the checks
 * before a call, and the texts of its errors.
 *
 * Mapping pins pages. The kernel counts them as locked memory, and the device keeps them even if the process changes
 * its own memory meanwhile. The library therefore keeps memory of others from being freed while it is mapped, even if
 * the buffer is transferred or collected.
 */
import { describe } from '../arguments.ts';
import { DmaError, type ErrnoName, errnoName } from '../errors.ts';
import { readText } from '../files.ts';
import { VFIO_MAP, type VfioFunctions } from '../native/vfio.ts';
import type { Access } from './access.ts';
import type { AddressSpace, IovaRange, MmioWindow } from './address-space.ts';
import { type LockedMemory, memlockRemedy, readMemlock } from './memlock.ts';

/** The native functions return this for a bad argument. */
const EINVAL = -22;

/** The functions that every address space of VFIO needs. */
export type VfioMemoryFunctions = Pick<VfioFunctions, 'vfioCanMapForeign' | 'vfioPageOffset'>;

/** The names that an interface of the kernel uses, for messages. */
export interface SpaceWords {
  readonly map: string;
  readonly unmap: string;
  /** Where the kernel counts the pages that it has pinned. */
  readonly counter: LockedMemory;
}

/** The common part of the address spaces of VFIO, for both interfaces of the kernel. */
export abstract class VfioAddressSpace implements AddressSpace {
  abstract readonly name: string;
  abstract readonly pageSize: number;
  abstract readonly ranges: readonly IovaRange[];
  readonly pinsForeignMemory: boolean;
  protected closed = false;
  readonly #memory: VfioMemoryFunctions;
  readonly #words: SpaceWords;

  constructor(memory: VfioMemoryFunctions, words: SpaceWords) {
    this.#memory = memory;
    this.#words = words;
    this.pinsForeignMemory = memory.vfioCanMapForeign();
  }

  /** 0 or -errno, as `vfioMap`. @param flags of VFIO_MAP */
  protected abstract mapMemory(
    iova: number,
    buffer: ArrayBufferLike,
    offset: number,
    size: number,
    flags: number,
  ): number;

  /** Bytes, or -errno, as `vfioUnmap`. */
  protected abstract unmapRange(iova: number, size: number): number;

  abstract close(): void;

  pageOffset(buffer: ArrayBufferLike): number {
    const result = isResizable(buffer) ? EINVAL : this.#memory.vfioPageOffset(buffer, this.pageSize);
    if (result >= 0) return result;
    throw new DmaError('EINVAL', 'the buffer is resizable, shared, detached or no ArrayBuffer', {
      remedy: 'pass a live ArrayBuffer of fixed length',
    });
  }

  map(iova: number, buffer: ArrayBufferLike, offset: number, size: number, access: Access): void {
    this.checkPlace(iova, size);
    const result = isResizable(buffer)
      ? EINVAL
      : this.mapMemory(iova, buffer, offset, size, VFIO_MAP[access]);
    if (result < 0) throw this.#mapError(result, iova, buffer, offset, size);
  }

  unmap(iova: number, size: number): number {
    if (this.closed) throw closedError();
    const result = this.unmapRange(iova, size);
    if (result >= 0) return result;
    throw this.#unmapError(result, iova, size);
  }

  /** @throws DmaError ENODEV closed · EINVAL not whole pages, or not usable */
  protected checkPlace(iova: number, size: number): void {
    if (this.closed) throw closedError();
    if (!this.#usable(iova, size)) throw this.#unusable(iova, size);
  }

  /** True if every range is inside one of `others`. */
  protected holdsIn(others: readonly IovaRange[]): boolean {
    return this.ranges.every(({ start, end }) => others.some((one) => one.start <= start && end <= one.end));
  }

  /** Undefined if both are whole pages. */
  protected misaligned(iova: number, size: number): DmaError | undefined {
    const whole = (value: number): boolean =>
      Number.isSafeInteger(value) && value >= 0 && value % this.pageSize === 0;
    if (whole(iova) && whole(size) && size > 0) return undefined;
    return new DmaError('EINVAL', `${describe(size)} bytes at ${hex(iova)} are not whole IOMMU pages`, {
      remedy: `use an address and a size that are multiples of ${this.pageSize}, and a size above 0`,
    });
  }

  /** The error after registers could not be mapped. */
  protected windowError(
    errno: number,
    iova: number,
    window: MmioWindow,
    offset: number,
    size: number,
  ): DmaError {
    const code = errnoName(errno);
    switch (code) {
      case 'EBADF':
        return new DmaError('ENODEV', 'the function whose registers these are is closed', {
          remedy: 'open it again, and take its BAR from there',
        });
      case 'EFAULT':
        return this.#fail(
          code,
          'the function whose registers these are does not answer',
          'enable memory decode (command register bit 1) and power state D0 of it',
        );
      case 'EINVAL':
        return this.#fail(
          code,
          `bytes ${describe(offset)} to ${describe(offset + size)} of a BAR of ${window.size} cannot be mapped`,
          `map whole multiples of ${this.pageSize} bytes, and nothing that the kernel keeps to itself (MSI-X)`,
        );
      default:
        return this.#refusal(code, iova, size);
    }
  }

  #usable(iova: number, size: number): boolean {
    if (!(iova % this.pageSize === 0 && size % this.pageSize === 0 && size > 0)) return false;
    for (const { start, end } of this.ranges) if (iova >= start && iova + size - 1 <= end) return true;
    return false;
  }

  #unusable(iova: number, size: number): DmaError {
    const misaligned = this.misaligned(iova, size);
    if (misaligned !== undefined) return misaligned;
    const list = this.ranges.map(({ start, end }) => `${hex(start)}-${hex(end)}`).join(', ');
    return new DmaError('EINVAL', `${span(iova, size)} is not usable behind this IOMMU`, {
      remedy: `stay inside one of ${list}`,
    });
  }

  #mapError(errno: number, iova: number, buffer: ArrayBufferLike, offset: number, size: number): DmaError {
    const code = errnoName(errno);
    switch (code) {
      case 'EBADF':
        return closedError();
      case 'ENOMEM':
        return this.#fail(
          code,
          `${size} bytes cannot be locked in memory for DMA`,
          memlockRemedy(size, readMemlock(this.#words.counter)) ?? 'the kernel has no memory left: free some',
        );
      case 'EFAULT':
        return this.#fail(
          code,
          `${size} bytes of memory cannot be pinned for DMA`,
          'VFIO takes no memory that another driver has mapped (a dma-buf, a dma-heap) and no file on disk: allocate ' +
            'from the device (allocCoherent), copy there, and exportDmaBuf() that to share it',
        );
      case 'EINVAL':
        return this.#fail(
          code,
          `bytes ${describe(offset)} to ${describe(offset + size)} of a buffer of ${buffer?.byteLength} cannot be mapped`,
          'pass an ArrayBuffer that is not shared, resizable or detached, and whole pages of it that start on a ' +
            `${this.pageSize}-byte boundary of memory`,
        );
      default:
        return this.#refusal(code, iova, size);
    }
  }

  /** The error if the address is refused, independent of the memory to be mapped there. */
  #refusal(code: ErrnoName, iova: number, size: number): DmaError {
    switch (code) {
      case 'EEXIST':
        return this.#fail(
          code,
          `${span(iova, size)} overlaps a mapping that is there`,
          'unmap that one first',
        );
      case 'ENOSPC':
        return this.#fail(
          code,
          `the IOMMU driver takes no more mappings (its limit is ${entryLimit()})`,
          'free some, use fewer and larger buffers, or load vfio_iommu_type1 with a larger dma_entry_limit',
        );
      default:
        return this.#fail(
          code,
          `mapping ${span(iova, size)} failed with ${code}`,
          'the kernel log (dmesg) may say why',
        );
    }
  }

  #unmapError(errno: number, iova: number, size: number): DmaError {
    const code = errnoName(errno);
    if (code === 'EBADF') return closedError();
    const misaligned = this.misaligned(iova, size);
    if (misaligned !== undefined) return misaligned;
    return new DmaError(code, `unmapping ${span(iova, size)} would cut a mapping in two`, {
      syscall: this.#words.unmap,
      remedy: 'unmap what was mapped, whole',
    });
  }

  #fail(code: ErrnoName, what: string, remedy: string): DmaError {
    return new DmaError(code, what, { syscall: this.#words.map, remedy });
  }
}

export function noRegistersOfVfio(): DmaError {
  return new DmaError('EREMOTEIO', 'these are not the registers of a function behind VFIO', {
    remedy: 'open both functions through VFIO, or simulate both',
  });
}

/** True if the end of the buffer may move while the device uses it. */
function isResizable(buffer: ArrayBufferLike): boolean {
  return (buffer as { readonly resizable?: boolean } | undefined)?.resizable === true;
}

function closedError(): DmaError {
  return new DmaError('ENODEV', 'the address space is closed', { remedy: 'open the function again' });
}

/** The limit of type1. iommufd has no limit. */
function entryLimit(): string {
  return (
    readText('/sys/module/vfio_iommu_type1/parameters/dma_entry_limit')?.trim() ?? '65535 unless changed'
  );
}

function span(iova: number, size: number): string {
  return `${hex(iova)}-${hex(iova + size - 1)}`;
}

function hex(value: number): string {
  return Number.isSafeInteger(value) && value >= 0 ? `0x${value.toString(16)}` : String(value);
}
