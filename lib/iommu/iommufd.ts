/**
 * The IOMMU as iommufd offers it (drivers/iommu/iommufd): an I/O address space (IOAS) to which devices are attached.
 *
 *      /dev/iommu
 *        IOAS                        --- this address space: mappings
 *          /dev/vfio/devices/vfioN   --- the functions that see it
 *
 * Differences from type1: the number of mappings has no limit; the IOAS and its mappings stay when the last device
 * leaves; memory of a memfd is mapped by its file. Registers of a function are mapped as a dma-buf (Linux 6.19). The
 * kernel ends such a mapping when the registers cease to answer, so it is made again when they do.
 */
import { DmaError, errnoName } from '../errors.ts';
import type { Handle } from '../native/addon.ts';
import type { IoasInfo, IommufdFunctions } from '../native/iommufd.ts';
import { VFIO_MAP } from '../native/vfio.ts';
import type { Access } from './access.ts';
import type { IovaRange, MmioWindow } from './address-space.ts';
import { usableRanges } from './usable-ranges.ts';
import { noRegistersOfVfio, VfioAddressSpace, type VfioMemoryFunctions } from './vfio.ts';
import { VfioWindow } from './vfio-window.ts';

type IoasFunctions = VfioMemoryFunctions &
  Pick<IommufdFunctions, 'ioasInfo' | 'ioasMap' | 'ioasMapWindow' | 'ioasUnmap' | 'ioasClose'>;

const WORDS = { map: 'IOMMU_IOAS_MAP', unmap: 'IOMMU_IOAS_UNMAP', counter: 'VmPin' } as const;

/** The address space of an IOAS of /dev/iommu (drivers/iommu/iommufd). */
export class IommufdAddressSpace extends VfioAddressSpace {
  readonly name = 'iommufd';
  readonly pageSize: number;
  readonly ranges: readonly IovaRange[];
  readonly #native: IoasFunctions;
  readonly #ioas: Handle;
  /** The mappings of registers by IOVA: functions that end their renewal. */
  readonly #windows = new Map<number, () => void>();

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

  /** While the registers are mapped, the kernel keeps their function open, even after the program has closed it. */
  mapWindow(iova: number, window: MmioWindow, offset: number, size: number, access: Access): void {
    if (!(window instanceof VfioWindow)) {
      if (this.closed) this.checkPlace(iova, size);
      throw noRegistersOfVfio();
    }
    this.checkPlace(iova, size);
    const map = (): number =>
      this.#native.ioasMapWindow(this.#ioas, iova, window.handle, offset, size, VFIO_MAP[access]);
    const result = map();
    if (result === EOPNOTSUPP) throw noRegisters();
    if (result < 0) throw this.windowError(result, iova, window, offset, size);
    const end = window.onAnswer(() => {
      this.#native.ioasUnmap(this.#ioas, iova, size);
      const again = map();
      if (again < 0) warnNotRenewed(this.windowError(again, iova, window, offset, size), iova, size);
    });
    this.#windows.set(iova, end);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const end of this.#windows.values()) end();
    this.#windows.clear();
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
    const result = this.#native.ioasUnmap(this.#ioas, iova, size);
    if (this.#windows.size > 0 && result >= 0) this.#forgetWindows(iova, size);
    return result;
  }

  #forgetWindows(iova: number, size: number): void {
    for (const [start, end] of this.#windows) {
      if (start < iova || start >= iova + size) continue;
      end();
      this.#windows.delete(start);
    }
  }

  #divides({ alignment }: IoasInfo): boolean {
    return this.pageSize % Number(alignment) === 0;
  }
}

/** Nobody asked for the renewal, so there is no caller to throw to; the device's next access is a fault. */
function warnNotRenewed({ code, message }: DmaError, iova: number, size: number): void {
  const what = `the mapping of registers at 0x${iova.toString(16)}, ${size} bytes, ended when they ceased to answer and cannot be made again`;
  process.emitWarning(`${what}: ${message}`, { code: 'USERDMA_REGISTERS_UNMAPPED', detail: code });
}

function noRegisters(): DmaError {
  return new DmaError('EREMOTEIO', 'this kernel maps no registers of a function through iommufd', {
    syscall: 'VFIO_DEVICE_FEATURE_DMA_BUF',
    remedy:
      "open the function that does the DMA with iommu: 'container', or use Linux 6.19 or newer with CONFIG_VFIO_PCI_DMABUF",
  });
}

const EINVAL = -22;
const EOPNOTSUPP = -95;
