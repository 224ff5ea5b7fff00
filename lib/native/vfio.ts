/**
 * VFIO, as `native/vfio_container.cc`, `native/mapped_memory.cc` and `native/vfio_device.cc` export it. The
 * conventions are those of addon.ts.
 */
import type { Handle } from './addon.ts';

/** The abilities of a container's type1 IOMMU (VFIO_IOMMU_GET_INFO). */
export interface Type1Info {
  /** Bit n is set if pages of 2^n bytes can be mapped. */
  readonly pageSizes: bigint;
  /** start, end, start, end, ...; ends inclusive. */
  readonly ranges: readonly bigint[];
  /** The number of mappings that may still be made; absent if the kernel does not tell. */
  readonly available?: number;
}

/** Indexes of VFIO_DEVICE_GET_REGION_INFO for PCI; a BAR's index is its number. */
export const VFIO_ROM_REGION = 6;
export const VFIO_CONFIG_REGION = 7;

/** VFIO_PCI_*_IRQ_INDEX */
export const VFIO_IRQ = { intx: 0, msi: 1, msix: 2, error: 3, request: 4 } as const;

/** VFIO_TYPE1v2_IOMMU, and VFIO_NOIOMMU_IOMMU: a container that maps nothing. */
export const VFIO_IOMMU = { type1: 3, none: 8 } as const;

/** VFIO_GROUP_FLAGS_VIABLE */
export const VFIO_GROUP_VIABLE = 1;

/** VFIO_DMA_MAP_FLAG_*, what the device may do */
export const VFIO_MAP = { read: 1, write: 2, 'read-write': 3 } as const;

export interface VfioFunctions {
  /** @param iommu of VFIO_IOMMU. -EOPNOTSUPP: another API version, or the kernel does not offer it. */
  vfioContainerOpen(iommu: number): Handle;
  /** Its groups close first. The kernel drops every mapping when no device of theirs is open any more. */
  vfioContainerClose(container: Handle): number;
  /** Opens /dev/vfio/`group`, or /dev/vfio/noiommu-`group`. The container keeps the descriptor. */
  vfioGroupOpen(container: Handle, group: number): number;
  /**
   * Takes the group out of the container, and closes it when no device of it is open. -EINVAL: it is not in the
   * container.
   */
  vfioGroupClose(container: Handle, group: number): number;
  /** VFIO_GROUP_FLAGS_*. */
  vfioGroupStatus(container: Handle, group: number): number;
  vfioGroupAttach(container: Handle, group: number): number;
  /** Chooses what the container was opened for; needs an attached group. */
  vfioSetIommu(container: Handle): number;
  /** -EOPNOTSUPP: the kernel does not tell IOVA ranges (before Linux 5.4). */
  vfioIommuInfo(container: Handle): Type1Info | number;
  /** The offset of a buffer's first byte in a page of `pageSize` bytes (a power of two). */
  vfioPageOffset(buffer: ArrayBufferLike, pageSize: number): number;
  /**
   * Pins buffer bytes [offset, offset + size) at [iova, iova + size). They may run past the end of the buffer only
   * into the rest of its last page, in one of our regions. Memory in none of our regions is kept from being freed
   * until it is unmapped; -EOPNOTSUPP if that is not possible.
   */
  vfioMap(
    container: Handle,
    iova: number,
    buffer: ArrayBufferLike,
    offset: number,
    size: number,
    flags: number,
  ): number;
  /**
   * As vfioMap, for bytes [offset, offset + size) of a window of the mmio functions: the device's DMA goes to those
   * registers. Until they are unmapped, they stay mapped in this process, and the kernel keeps their function open.
   * -EBADF: either handle. -EINVAL: not inside the window, or a part is not mapped into this process. -EFAULT: memory
   * decode is off.
   */
  vfioMapWindow(
    container: Handle,
    iova: number,
    window: Handle,
    offset: number,
    size: number,
    flags: number,
  ): number;
  /** True if vfioMap takes memory that is in none of our regions. */
  vfioCanMapForeign(): boolean;
  /** Bytes unmapped; whole mappings only. */
  vfioUnmap(container: Handle, iova: number, size: number): number;

  /** A function of an attached group; `name` is its PCI address. */
  vfioDeviceOpen(container: Handle, group: number, name: string): Handle;
  /** Its windows close first; then the kernel clears bus master and stops the interrupts. */
  vfioDeviceClose(device: Handle): number;
  /** -EINVAL: the device has no reset of this function alone; -EAGAIN: busy. */
  vfioDeviceReset(device: Handle): number;
  /** The functions that a hot reset resets: group, segment, bus, devfn, ... -ENODEV: no hot reset is possible. */
  vfioHotResetInfo(device: Handle): readonly number[] | number;
  /**
   * Resets the bus or slot of the function, with every function on it. -EPERM: one of them is in a group that this
   * environment does not have. -EAGAIN, -EBUSY: busy. -EINVAL: one of them is not VFIO's.
   */
  vfioHotReset(device: Handle): number;
  /** 1 if a container of this environment has that IOMMU group, else 0. */
  vfioGroupHeld(group: number): number;
  /** Bytes of a region, 0 if there is none. */
  vfioRegionSize(device: Handle, region: number): number;
  /** A value of `width` bytes (1, 2 or 4), little-endian. */
  vfioRegionRead(device: Handle, region: number, offset: number, width: number): number;
  /** Fills all of `bytes`, from `offset` of a region on. */
  vfioRegionReadBytes(device: Handle, region: number, offset: number, bytes: ArrayBuffer): number;
  vfioRegionWrite(device: Handle, region: number, offset: number, width: number, value: number): number;
  /** A window for the mmio functions over the whole BAR. It closes with the device. */
  vfioBarOpen(device: Handle, bar: number): Handle;
  /** The number of vectors of a kind (VFIO_IRQ), 0 if there are none. */
  vfioIrqCount(device: Handle, kind: number): number;
  /**
   * Vectors [start, start + count) signal `interrupt`, or nothing if it is 0. A positive result is the number of
   * vectors that the system grants, if that is too small; none is armed then.
   */
  vfioIrqArm(device: Handle, kind: number, start: number, count: number, interrupt: Handle): number;
  /** 1 if vectors of a kind can be added while others are on, else 0. */
  vfioIrqResizable(device: Handle, kind: number): number;
  /** Signals the eventfd of vector `vector`, without the device. */
  vfioIrqTrigger(device: Handle, kind: number, vector: number): number;
  /** No vector of this kind fires any more, and another kind may be used. */
  vfioIrqOff(device: Handle, kind: number): number;
  /** Lets INTx fire again. */
  vfioIrqUnmask(device: Handle, kind: number): number;
}
