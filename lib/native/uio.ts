/** Devices behind files, as `native/uio.cc` exports them. The conventions are those of addon.ts. */
import type { Handle } from './addon.ts';

export interface UioFunctions {
  /**
   * A window for the mmio functions over `size` bytes that begin `start` bytes (a multiple of 8) into the page at
   * `position` of an open file: a UIO device, or resourceN of a PCI function. Without `mapped` each access is a pread
   * or pwrite, which is how I/O ports are reached. The file may be closed afterwards. Close the window when it is done
   * with: no other code closes it.
   */
  fileWindowOpen(fd: number, position: number, start: number, size: number, mapped: boolean): Handle;
  fileWindowClose(window: Handle): number;
  /**
   * The interrupt of an open UIO device that does not block, for interruptClose and interruptRef. `deliver` runs from
   * the event loop with how far the device's count of interrupts (modulo 2^32) has come since `seen`, or since it last
   * ran; with -errno, and then never again, when the device is gone.
   */
  uioInterruptCreate(fd: number, seen: number, deliver: (count: number) => void): Handle;
}
