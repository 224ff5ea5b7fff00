/** The registers of a function that VFIO opened, in a form that the address spaces of VFIO can map. */
import type { Handle } from '../native/addon.ts';
import type { MmioWindow, ReservedBytes } from './address-space.ts';

/** The registers of a function that VFIO can map for the DMA of another device. */
export class VfioWindow implements MmioWindow {
  readonly size: number;
  /** The handle of the mmio functions. */
  readonly handle: Handle;
  readonly reserved: readonly ReservedBytes[];
  /** Make the mappings again that the kernel ended when the registers ceased to answer (iommufd). */
  readonly #renewals = new Set<() => void>();

  constructor(size: number, handle: Handle, reserved: readonly ReservedBytes[] = []) {
    this.size = size;
    this.handle = handle;
    this.reserved = reserved;
  }

  /** True if the kernel ends a mapping of the registers when they cease to answer. */
  get isRevocable(): boolean {
    return this.#renewals.size > 0;
  }

  /** Calls `renew` each time the registers answer again. Returns a function that ends that. */
  onAnswer(renew: () => void): () => void {
    this.#renewals.add(renew);
    return () => void this.#renewals.delete(renew);
  }

  /** The registers answer again. */
  answer(): void {
    for (const renew of this.#renewals) renew();
  }
}
