/** iommufd, as `native/iommufd.cc` exports it. The conventions are those of addon.ts. */
import type { Handle } from './addon.ts';

/** The kernel's facts about an I/O address space (IOMMU_IOAS_IOVA_RANGES), once a device is attached to it. */
export interface IoasInfo {
  /** Addresses and sizes of mappings are multiples of it. */
  readonly alignment: bigint;
  /** start, end, start, end, ...; ends inclusive. */
  readonly ranges: readonly bigint[];
}

/** `ioasDeviceOpen` subtracts this from -errno if the device was bound but could not be attached. */
export const NOT_ATTACHED = 1000;

export interface IommufdFunctions {
  /**
   * An empty I/O address space. `iommufd` is the descriptor of an iommufd, which the caller keeps owning, or -1 for
   * the one of this environment: /dev/iommu is opened with the first of its address spaces. -ENOTTY: not an iommufd.
   */
  ioasCreate(iommufd: number): Handle;
  /** Unmaps everything. The kernel frees the address space with the last device that is attached to it. */
  ioasClose(ioas: Handle): number;
  /**
   * A device of the vfio functions, attached to the address space. `descriptor` is one of /dev/vfio/devices/vfioN.
   * The device owns it from the call on, and it is closed on failure. `token` is the 16 bytes of the UUID of a
   * physical function and its virtual ones. If the binding (VFIO_DEVICE_BIND_IOMMUFD) fails, the result is -errno.
   * If a later step fails, it is -errno - NOT_ATTACHED.
   */
  ioasDeviceOpen(ioas: Handle, descriptor: number, token?: ArrayBuffer): Handle;
  ioasInfo(ioas: Handle): IoasInfo | number;
  /** As vfioMap. Memory of a memfd region is mapped by its file (IOMMU_IOAS_MAP_FILE) if the kernel can do that. */
  ioasMap(
    ioas: Handle,
    iova: number,
    buffer: ArrayBufferLike,
    offset: number,
    size: number,
    flags: number,
  ): number;
  /**
   * As vfioMapWindow. If the registers cease to answer (memory decode or power is off, a reset), the kernel cuts the
   * device off for good: unmap and map again when they answer. -EOPNOTSUPP: this kernel cannot (before Linux 6.19, or
   * without CONFIG_VFIO_PCI_DMABUF).
   */
  ioasMapWindow(
    ioas: Handle,
    iova: number,
    window: Handle,
    offset: number,
    size: number,
    flags: number,
  ): number;
  /**
   * Bytes unmapped, 0 if there was no mapping; whole mappings only. -EINVAL: one would be cut, and none is unmapped.
   */
  ioasUnmap(ioas: Handle, iova: number, size: number): number;
}
