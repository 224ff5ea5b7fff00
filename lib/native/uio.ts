/** Devices that are reached through files, as `native/uio.cc` exports them. The conventions are those of addon.ts. */
import type { Handle } from './addon.ts';

export interface UioFunctions {
  /**
   * A window for the mmio functions over `size` bytes of an open file: a UIO device, or resourceN of a PCI function.
   * The bytes begin `start` bytes (a multiple of 8) into the page at `position`. Without `mapped` each access is a
   * pread or pwrite, as I/O ports need. The file may be closed afterwards. The caller must close the window, because
   * no other code closes it.
   */
  fileWindowOpen(fd: number, position: number, start: number, size: number, mapped: boolean): Handle;
  fileWindowClose(window: Handle): number;
  /**
   * The interrupt of an open UIO device in non-blocking mode, for interruptClose and interruptRef. `deliver` runs
   * from the event loop. Its argument is the increase of the device's interrupt count (modulo 2^32) since `seen`, or
   * since it last ran. If the device is gone, the argument is -errno, and `deliver` never runs again.
   */
  uioInterruptCreate(fd: number, seen: number, deliver: (count: number) => void): Handle;
}
