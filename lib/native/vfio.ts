/**
 * VFIO, as `native/vfio_container.cc`, `native/mapped_memory.cc` and `native/vfio_device.cc` export it. The
 * conventions are those of addon.ts.
 */
import type { Handle } from './addon.ts';

/** The abilities of a container's type1 IOMMU (VFIO_IOMMU_GET_INFO). */
export interface Type1Info {
  /** Bit n is set when pages of 2^n bytes can be mapped. */
  readonly pageSizes: bigint;
  /** start, end, start, end, ...; ends inclusive. */
  readonly ranges: readonly bigint[];
  /** Mappings that may still be made; absent when the kernel does not say. */
  readonly available?: number;
}

/** Indexes of VFIO_DEVICE_GET_REGION_INFO for PCI; a BAR's index is its number. */
export const VFIO_ROM_REGION = 6;
export const VFIO_CONFIG_REGION = 7;

/** VFIO_PCI_*_IRQ_INDEX */
export const VFIO_IRQ = { intx: 0, msi: 1, msix: 2, error: 3, request: 4 } as const;

/** VFIO_GROUP_FLAGS_VIABLE */
export const VFIO_GROUP_VIABLE = 1;

/** VFIO_DMA_MAP_FLAG_*, what the device may do */
export const VFIO_MAP = { read: 1, write: 2, 'read-write': 3 } as const;

export interface VfioFunctions {
  /** -EOPNOTSUPP: another API version, or no type1v2 IOMMU. */
  vfioContainerOpen(): Handle;
  /** Its groups close first. The kernel drops every mapping once no device of theirs is open any more. */
  vfioContainerClose(container: Handle): number;
  /** Opens /dev/vfio/`group` for the container to keep. */
  vfioGroupOpen(container: Handle, group: number): number;
  /** Out of the container, and closed once no device of it is open. -EINVAL: it is not in there. */
  vfioGroupClose(container: Handle, group: number): number;
  /** VFIO_GROUP_FLAGS_*. */
  vfioGroupStatus(container: Handle, group: number): number;
  vfioGroupAttach(container: Handle, group: number): number;
  /** Chooses type1v2; needs an attached group. */
  vfioSetIommu(container: Handle): number;
  /** -EOPNOTSUPP: the kernel does not tell IOVA ranges (before Linux 5.4). */
  vfioIommuInfo(container: Handle): Type1Info | number;
  /** Where in a page of `pageSize` bytes (a power of two) the first byte of a buffer lies. */
  vfioPageOffset(buffer: ArrayBufferLike, pageSize: number): number;
  /**
   * Pins buffer bytes [offset, offset + size) at [iova, iova + size). They may run past the end of the buffer only
   * into the rest of its last page, in one of our regions. Memory that is in none of
   * our regions is kept from being freed until it is unmapped; -EOPNOTSUPP where that is not possible.
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
   * The same for bytes [offset, offset + size) of a window of the mmio functions: the device's DMA goes to those
   * registers. They stay mapped in this process, and the function they belong to open for the kernel, until it is
   * unmapped. -EBADF: either handle. -EINVAL: not inside the window, or not mapped into this process all over.
   * -EFAULT: memory decode is off.
   */
  vfioMapWindow(
    container: Handle,
    iova: number,
    window: Handle,
    offset: number,
    size: number,
    flags: number,
  ): number;
  /** Whether vfioMap takes memory that is in none of our regions. */
  vfioCanMapForeign(): boolean;
  /** Bytes unmapped; whole mappings only. */
  vfioUnmap(container: Handle, iova: number, size: number): number;

  /** A function of an attached group; `name` is its PCI address. */
  vfioDeviceOpen(container: Handle, group: number, name: string): Handle;
  /** Its windows close first; then the kernel clears bus master and stops the interrupts. */
  vfioDeviceClose(device: Handle): number;
  /** -EINVAL: there is no reset that touches this function alone; -EAGAIN: busy. */
  vfioDeviceReset(device: Handle): number;
  /** The functions that a hot reset resets: group, segment, bus, devfn, ... -ENODEV: there is no such reset. */
  vfioHotResetInfo(device: Handle): readonly number[] | number;
  /**
   * Resets the bus or slot of the function, with everything on it. -EPERM: some of it is in a group that this
   * environment does not hold. -EAGAIN, -EBUSY: busy. -EINVAL: some of it is not VFIO's.
   */
  vfioHotReset(device: Handle): number;
  /** 1 when a container of this environment holds that IOMMU group, else 0. */
  vfioGroupHeld(group: number): number;
  /** Bytes of a region, 0 when there is none. */
  vfioRegionSize(device: Handle, region: number): number;
  /** A value of `width` bytes (1, 2 or 4), little-endian. */
  vfioRegionRead(device: Handle, region: number, offset: number, width: number): number;
  /** All of `bytes`, from `offset` of a region on. */
  vfioRegionReadBytes(device: Handle, region: number, offset: number, bytes: ArrayBuffer): number;
  vfioRegionWrite(device: Handle, region: number, offset: number, width: number, value: number): number;
  /** A window for the mmio functions over all of a BAR; it closes with the device. */
  vfioBarOpen(device: Handle, bar: number): Handle;
  /** Vectors of a kind (VFIO_IRQ), 0 when there are none. */
  vfioIrqCount(device: Handle, kind: number): number;
  /**
   * Vectors [start, start + count) signal `interrupt`, or nothing when it is 0. A positive result: the system grants
   * only so many vectors, and none is armed.
   */
  vfioIrqArm(device: Handle, kind: number, start: number, count: number, interrupt: Handle): number;
  /** 1 when vectors of a kind can be added while others are on, else 0. */
  vfioIrqResizable(device: Handle, kind: number): number;
  /** Signals what vector `vector` would, without the device. */
  vfioIrqTrigger(device: Handle, kind: number, vector: number): number;
  /** No vector of this kind fires any more, and another kind may be used. */
  vfioIrqOff(device: Handle, kind: number): number;
  /** Lets INTx fire again. */
  vfioIrqUnmask(device: Handle, kind: number): number;
}
