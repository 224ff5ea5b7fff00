/**
 * The IOMMU as iommufd offers it (drivers/iommu/iommufd): an I/O address space (IOAS) to which devices are attached.
 *
 *      /dev/iommu
 *        IOAS                        --- this address space: mappings
 *          /dev/vfio/devices/vfioN   --- the functions that see it
 *
 * Differences from type1: the number of mappings has no limit; the IOAS and its mappings stay when the last device
 * leaves; memory of a memfd is mapped by its file. Registers of functions cannot be mapped, because iommufd does not
 * accept memory that a driver has mapped.
 */
import { DmaError, errnoName } from '../errors.ts';
import type { Handle } from '../native/addon.ts';
import type { IoasInfo, IommufdFunctions } from '../native/iommufd.ts';
import type { IovaRange } from './address-space.ts';
import { usableRanges } from './usable-ranges.ts';
import { VfioAddressSpace, type VfioMemoryFunctions } from './vfio.ts';

type IoasFunctions = VfioMemoryFunctions &
  Pick<IommufdFunctions, 'ioasInfo' | 'ioasMap' | 'ioasUnmap' | 'ioasClose'>;

const WORDS = { map: 'IOMMU_IOAS_MAP', unmap: 'IOMMU_IOAS_UNMAP', counter: 'VmPin' } as const;

/** The address space of an IOAS of /dev/iommu (drivers/iommu/iommufd). */
export class IommufdAddressSpace extends VfioAddressSpace {
  readonly name = 'iommufd';
  readonly pageSize: number;
  readonly ranges: readonly IovaRange[];
  readonly #native: IoasFunctions;
  readonly #ioas: Handle;

  /**
   * @param ioas with a device attached; this object owns it from here on, unless the constructor throws
   * @param cpuPageSize bytes; iommufd may allow smaller mappings, but pins whole pages
   * @param reserved addresses that the kernel would map but must not be used, e.g. those of other functions
   * @throws DmaError the kernel does not tell which addresses are valid
   */
  constructor(native: IoasFunctions, ioas: Handle, cpuPageSize: number, reserved: readonly IovaRange[] = []) {
    super(native, WORDS);
    const info = native.ioasInfo(ioas);
    if (typeof info === 'number') {
      throw new DmaError(errnoName(info), 'the kernel does not say which addresses a device may use', {
        syscall: 'IOMMU_IOAS_IOVA_RANGES',
        remedy: 'the kernel log (dmesg) may say why',
      });
    }
    this.#native = native;
    this.#ioas = ioas;
    this.pageSize = Math.max(cpuPageSize, Number(info.alignment));
    this.ranges = usableRanges(info.ranges, reserved, this.pageSize);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#native.ioasClose(this.#ioas);
  }

  /** True if all addresses are still usable, although more devices may have been attached. */
  get unchanged(): boolean {
    const info = this.#native.ioasInfo(this.#ioas);
    if (typeof info === 'number' || !this.#divides(info)) return false;
    return this.holdsIn(usableRanges(info.ranges, [], this.pageSize));
  }

  protected mapMemory(
    iova: number,
    buffer: ArrayBufferLike,
    offset: number,
    size: number,
    flags: number,
  ): number {
    return this.#native.ioasMap(this.#ioas, iova, buffer, offset, size, flags);
  }

  protected unmapRange(iova: number, size: number): number {
    if (this.misaligned(iova, size) !== undefined) return EINVAL;
    return this.#native.ioasUnmap(this.#ioas, iova, size);
  }

  #divides({ alignment }: IoasInfo): boolean {
    return this.pageSize % Number(alignment) === 0;
  }
}

const EINVAL = -22;
