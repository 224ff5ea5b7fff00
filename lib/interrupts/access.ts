/**
 * The InterruptAccess seam: how the interrupts of one function are armed.
 *
 *      vfio         eventfds                                        (lib/pci/vfio)
 *      uio          the count that the program reads from the node  (lib/uio)
 *      simulated    the interrupts that a device model raises       (lib/sim)
 */
import type { DmaError } from '../errors.ts';

/** The three kinds of interrupts that a PCI function may have. */
export type InterruptKind = 'intx' | 'msi' | 'msix';

/** Arms vectors of a function: VFIO, UIO and the simulation implement it. */
export interface InterruptAccess {
  /** The number of vectors of this kind that the function offers; 0 if it has none. */
  limit(kind: InterruptKind): number;
  /**
   * Arm one vector. `deliver` runs in this environment's event loop, never inside another call of this library. Its
   * argument is the number of interrupts since it last ran (at least 1). `fail` is called at most once, when the
   * device is gone: no interrupt will come any more.
   * @throws DmaError EINVAL vector out of range · EBUSY another kind is active, or the vector is armed · ENOSPC the
   *   system granted fewer vectors · ENODEV closed, or the device is gone
   */
  enable(
    kind: InterruptKind,
    vector: number,
    deliver: (count: number) => void,
    fail?: (error: DmaError) => void,
  ): void;
  /** Disarm one vector; `deliver` is not called again. The kind is turned off with its last vector. */
  disable(kind: InterruptKind, vector: number): void;
  /** Let INTx fire again: it masks itself each time it is delivered. */
  unmaskIntx(): void;
  /**
   * Raise an armed vector without the device, for tests of the code that handles it.
   * @throws DmaError EOPNOTSUPP the system cannot do that · EINVAL the vector is not armed · ENODEV closed, or gone
   */
  trigger(kind: InterruptKind, vector: number): void;
  /** Sets if the armed vector keeps the process alive. */
  setRef(kind: InterruptKind, vector: number, ref: boolean): void;
  /**
   * The first call of `Interrupt.wait` now waits for the vector (true), or the last one ended (false). A simulation
   * can detect from it that a wait is in vain.
   */
  setWaiting?(kind: InterruptKind, vector: number, waiting: boolean): void;
  /**
   * Why no interrupt will come in the present state, e.g. `nothing is scheduled`. Undefined if the reason is not
   * known.
   */
  explainSilence?(): string | undefined;
}
