/**
 * The IOMMU as VFIO's type1 driver offers it (drivers/vfio/vfio_iommu_type1.c, version 2 semantics).
 *
 *      container (/dev/vfio/vfio) --- this address space: mappings
 *          group (/dev/vfio/N)    --- the functions that see it
 */
import { DmaError, errnoName } from '../errors.ts';
import type { Handle } from '../native/addon.ts';
import { VFIO_MAP, type VfioFunctions } from '../native/vfio.ts';
import type { Access } from './access.ts';
import type { IovaRange, MmioWindow } from './address-space.ts';
import { usableRanges } from './usable-ranges.ts';
import { noRegistersOfVfio, VfioAddressSpace, type VfioMemoryFunctions } from './vfio.ts';
import { VfioWindow } from './vfio-window.ts';

type Type1Functions = VfioMemoryFunctions &
  Pick<VfioFunctions, 'vfioIommuInfo' | 'vfioMap' | 'vfioMapWindow' | 'vfioUnmap' | 'vfioContainerClose'>;

const WORDS = { map: 'VFIO_IOMMU_MAP_DMA', unmap: 'VFIO_IOMMU_UNMAP_DMA', counter: 'VmLck' } as const;

/** The address space of a VFIO container (VFIO_TYPE1v2_IOMMU). */
export class Type1AddressSpace extends VfioAddressSpace {
  readonly name = 'type1';
  readonly pageSize: number;
  readonly ranges: readonly IovaRange[];
  readonly #native: Type1Functions;
  readonly #container: Handle;

  /**
   * @param container with its groups attached and the IOMMU chosen; this object owns it from here on, unless the
   *   constructor throws
   * @param reserved addresses that the kernel would map but must not be used, e.g. those of other functions
   * @throws DmaError EOPNOTSUPP the kernel does not tell which addresses are valid
   */
  constructor(native: Type1Functions, container: Handle, reserved: readonly IovaRange[] = []) {
    super(native, WORDS);
    const info = native.vfioIommuInfo(container);
    if (typeof info === 'number') {
      throw new DmaError(errnoName(info), 'the kernel does not say which addresses a device may use', {
        syscall: 'VFIO_IOMMU_GET_INFO',
        remedy: 'use Linux 5.4 or newer',
      });
    }
    this.#native = native;
    this.#container = container;
    this.pageSize = Number(info.pageSizes & -info.pageSizes);
    if (this.pageSize === 0) {
      throw new DmaError('EOPNOTSUPP', 'the kernel says that the IOMMU has no page size', {
        syscall: 'VFIO_IOMMU_GET_INFO',
        remedy: 'check the kernel log: no mapping can be made with this IOMMU',
      });
    }
    this.ranges = usableRanges(info.ranges, reserved, this.pageSize);
  }

  /** While the registers are mapped, the kernel keeps the function open, even after the program has closed it. */
  mapWindow(iova: number, window: MmioWindow, offset: number, size: number, access: Access): void {
    if (!(window instanceof VfioWindow)) {
      if (this.closed) this.checkPlace(iova, size);
      throw noRegistersOfVfio();
    }
    this.checkPlace(iova, size);
    const { handle } = window;
    const result = this.#native.vfioMapWindow(this.#container, iova, handle, offset, size, VFIO_MAP[access]);
    if (result < 0) throw this.windowError(result, iova, window, offset, size);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    // While a device is still open, the container stays, and so does every mapping that is not removed here.
    this.#native.vfioUnmap(this.#container, 0, Number.MAX_SAFE_INTEGER - (this.pageSize - 1));
    this.#native.vfioContainerClose(this.#container);
  }

  /** True if all addresses are still usable, although more groups may have been added. */
  get unchanged(): boolean {
    const info = this.#native.vfioIommuInfo(this.#container);
    if (typeof info === 'number' || Number(info.pageSizes & -info.pageSizes) !== this.pageSize) return false;
    return this.holdsIn(usableRanges(info.ranges, [], this.pageSize));
  }

  protected mapMemory(
    iova: number,
    buffer: ArrayBufferLike,
    offset: number,
    size: number,
    flags: number,
  ): number {
    return this.#native.vfioMap(this.#container, iova, buffer, offset, size, flags);
  }

  protected unmapRange(iova: number, size: number): number {
    const result = this.#native.vfioUnmap(this.#container, iova, size);
    const deserted = result < 0 && this.misaligned(iova, size) === undefined && this.#deserted;
    return deserted ? 0 : result;
  }

  /**
   * True if the last function of the groups was removed from the system: the kernel has then removed every mapping
   * itself.
   */
  get #deserted(): boolean {
    return typeof this.#native.vfioIommuInfo(this.#container) === 'number';
  }
}
