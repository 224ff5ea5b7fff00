/** iommufd, as `native/iommufd.cc` exports it. The conventions are those of addon.ts. */
import type { Handle } from './addon.ts';

/** What the kernel says of an I/O address space (IOMMU_IOAS_IOVA_RANGES), once a device is attached to it. */
export interface IoasInfo {
  /** Addresses and sizes of mappings are multiples of it. */
  readonly alignment: bigint;
  /** start, end, start, end, ...; ends inclusive. */
  readonly ranges: readonly bigint[];
}

/** What `ioasDeviceOpen` takes off an errno when the device was bound and could not be attached. */
export const NOT_ATTACHED = 1000;

export interface IommufdFunctions {
  /**
   * An I/O address space with nothing in it. `iommufd` is the descriptor of an iommufd, which stays the caller's, or
   * -1 for the one of this environment: /dev/iommu is opened with the first of its address spaces. -ENOTTY: not an
   * iommufd.
   */
  ioasCreate(iommufd: number): Handle;
  /** Unmaps everything. The kernel frees the address space with the last device that is attached to it. */
  ioasClose(ioas: Handle): number;
  /**
   * A device of the vfio functions, attached to the address space. `descriptor` is that of /dev/vfio/devices/vfioN; it
   * belongs to the device from the call on and is closed on failure. A negative result is -errno of the binding
   * (VFIO_DEVICE_BIND_IOMMUFD), or below -NOT_ATTACHED: -errno - NOT_ATTACHED of what follows it.
   */
  ioasDeviceOpen(ioas: Handle, descriptor: number): Handle;
  ioasInfo(ioas: Handle): IoasInfo | number;
  /** As vfioMap. Memory of a memfd region is mapped by its file (IOMMU_IOAS_MAP_FILE) where the kernel can. */
  ioasMap(
    ioas: Handle,
    iova: number,
    buffer: ArrayBufferLike,
    offset: number,
    size: number,
    flags: number,
  ): number;
  /** Bytes unmapped, 0 when there was nothing; whole mappings only. -EINVAL: one would be cut, and none is unmapped. */
  ioasUnmap(ioas: Handle, iova: number, size: number): number;
}
