/**
 * The InterruptAccess seam: how the interrupts of one function are armed.
 *
 *      vfio         eventfds                               (lib/pci/vfio)
 *      uio          the count that a UIO node is read for  (lib/uio)
 *      simulated    what a device model raises             (lib/sim)
 */
import type { DmaError } from '../errors.ts';

export type InterruptKind = 'intx' | 'msi' | 'msix';

export interface InterruptAccess {
  /** Vectors the function offers of this kind; 0 when it has none. */
  limit(kind: InterruptKind): number;
  /**
   * Arm one vector. `deliver` runs in this environment's event loop, never inside another call of this library,
   * with the number of interrupts since it last ran (at least 1). `fail` is called at most once, when the device is
   * gone: no interrupt will come any more.
   * @throws DmaError EINVAL vector out of range · EBUSY another kind is active, or the vector is armed ·
   *   ENOSPC the system granted fewer vectors · ENODEV closed, or the device is gone
   */
  enable(
    kind: InterruptKind,
    vector: number,
    deliver: (count: number) => void,
    fail?: (error: DmaError) => void,
  ): void;
  /** Disarm one vector; `deliver` is not called again. The last one turns the kind off. */
  disable(kind: InterruptKind, vector: number): void;
  /** Let INTx fire again: it masks itself each time it is delivered. */
  unmaskIntx(): void;
  /**
   * Do to an armed vector what the device would do, without it: for tests of what is behind it.
   * @throws DmaError EOPNOTSUPP the system offers no such thing · EINVAL the vector is not armed · ENODEV closed, or
   *   gone
   */
  trigger(kind: InterruptKind, vector: number): void;
  /** Whether armed vectors keep the process alive. */
  setRef(kind: InterruptKind, vector: number, ref: boolean): void;
  /**
   * A call of `Interrupt.wait` now waits for the vector, or none does any more: a simulation can tell that the wait is
   * in vain.
   */
  setWaiting?(kind: InterruptKind, vector: number, waiting: boolean): void;
  /** Why no interrupt comes as things stand, e.g. `nothing is scheduled`. Undefined where that is not known. */
  explainSilence?(): string | undefined;
}
