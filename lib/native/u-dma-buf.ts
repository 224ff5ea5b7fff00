/** u-dma-buf nodes, as `native/u_dma_buf.cc` exports them. The conventions are those of addon.ts. */
import type { Handle } from './addon.ts';

/** The module's facts about itself and a node (U_DMA_BUF_IOCTL_GET_DRV_INFO, GET_DEV_INFO). */
export interface UDmaBufInfo {
  /** 1: it can sync; 2: it can export, too. */
  readonly ioctlVersion: number;
  /** E.g. `5.5.0`. */
  readonly driverVersion: string;
  readonly address: bigint;
  /** Bytes. */
  readonly size: bigint;
}

/** Directions as the module numbers them; 3 means none. */
export const U_DMA_BUF_DIRECTION = { bidirectional: 0, 'to-device': 1, 'from-device': 2 } as const;

export interface UDmaBufFunctions {
  /**
   * A region over the first `size` bytes (whole pages) of a node. `uncached` opens it with O_SYNC. `lock`: -EBUSY if
   * another process has it open with `lock`; the lock ends with the region. -ENXIO: a regular file that is too short.
   */
  uDmaBufOpen(path: string, size: number, uncached: boolean, lock: boolean): Handle;
  /** -ENOTTY: not a u-dma-buf, or one without ioctls (before 4.7). */
  uDmaBufInfo(region: Handle): UDmaBufInfo | number;
  /** Cache maintenance of bytes [offset, offset + size) of the buffer. -EINVAL also if they are not all inside. */
  uDmaBufSync(region: Handle, offset: number, size: number, direction: number, forDevice: boolean): number;
  /** sync_mode, 1 to 7, for mappings made from now on. */
  uDmaBufSetMode(region: Handle, mode: number): number;
  /** The descriptor of a dma-buf over whole pages of the buffer; the caller closes it. */
  uDmaBufExport(region: Handle, offset: number, size: number): number;
}
