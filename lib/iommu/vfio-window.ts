/** The registers of a function that VFIO opened, in a form that the address spaces of VFIO can map. */
import type { Handle } from '../native/addon.ts';
import type { MmioWindow, ReservedBytes } from './address-space.ts';

/** The registers of a function that VFIO can map for the DMA of another device. */
export class VfioWindow implements MmioWindow {
  readonly size: number;
  /** The handle of the mmio functions. */
  readonly handle: Handle;
  readonly reserved: readonly ReservedBytes[];

  constructor(size: number, handle: Handle, reserved: readonly ReservedBytes[] = []) {
    this.size = size;
    this.handle = handle;
    this.reserved = reserved;
  }
}
