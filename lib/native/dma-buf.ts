/** dma-bufs, as `native/dma_buf.cc` exports them. The conventions are those of addon.ts. */
import type { Handle } from './addon.ts';

/** DMA_BUF_SYNC_*: the access that the CPU begins, or ends when END is added. */
export const DMA_BUF_SYNC = { read: 1, write: 2, end: 4 } as const;

export interface DmaBufFunctions {
  /** Takes a dma-buf, with a descriptor of its own in addition to `fd`. -EBADF: not open. -ENOTTY: not a dma-buf. */
  dmaBufImport(fd: number): Handle;
  /**
   * Registers, bytes [offset, offset + size) of a window of the mmio functions that VFIO opened; whole pages
   * (VFIO_DEVICE_FEATURE_DMA_BUF). -EOPNOTSUPP, -ENOTTY: the kernel, or the window, cannot.
   */
  dmaBufOfWindow(window: Handle, offset: number, size: number): Handle;
  /**
   * UDMABUF_CREATE_LIST. `device` is an open /dev/udmabuf; `pieces` has three numbers for each piece, which are the
   * memfd, the offset in it and the bytes. -EINVAL also: over a limit of the driver, more than 65,536, or not whole
   * pages.
   */
  udmabufCreate(device: number, pieces: Float64Array): Handle;
  /** DMA_HEAP_IOCTL_ALLOC. `heap` is an open node of /dev/dma_heap; `bytes` is rounded up to whole pages, all zero. */
  dmaHeapAllocate(heap: number, bytes: number): Handle;
  /** Bytes, whole pages. */
  dmaBufSize(dmaBuf: Handle): number;
  /** The descriptor, to be passed on. The dma-buf keeps owning it. */
  dmaBufFd(dmaBuf: Handle): number;
  /**
   * An external ArrayBuffer of its first `bytes` bytes. It can be made only once; the second call returns -EEXIST.
   * -EACCES: the descriptor is for reading only. -EINVAL also: its exporter does not let it be mapped.
   */
  dmaBufMap(dmaBuf: Handle, bytes: number): ArrayBuffer | number;
  /** DMA_BUF_IOCTL_SYNC with DMA_BUF_SYNC flags. It is repeated when a signal interrupts it. */
  dmaBufSync(dmaBuf: Handle, flags: number): number;
  /** Puts anonymous memory in the place of its mapping, under every view of it, and ends the handle. Returns 0. */
  dmaBufClose(dmaBuf: Handle): number;
}
