/**
 * The PciTransport seam: how one PCI function is reached.
 *
 *      vfio         /dev/vfio of Linux
 *      simulated    a device model in this process
 *
 * A transport moves raw accesses; PciFunction (function.ts) is what a driver holds.
 */
import type { DmaDevice } from '../dma/device.ts';
import type { StreamingOptions } from '../dma/streaming.ts';
import type { Bar } from './bar.ts';

export type InterruptKind = 'intx' | 'msi' | 'msix';

export interface ConfigAccess {
  /** Bytes of configuration space: 256 (conventional) or 4096 (PCI Express). */
  readonly size: number;
  /** Little-endian; the caller has checked bounds and alignment. @throws DmaError ENODEV, EIO */
  read(offset: number, width: 1 | 2 | 4): number;
  write(offset: number, width: 1 | 2 | 4, value: number): void;
}

export interface InterruptAccess {
  /** Vectors the function offers of this kind; 0 when it has none. */
  limit(kind: InterruptKind): number;
  /**
   * Arm one vector. `deliver` runs in this environment's event loop, never inside another call of this library,
   * with the number of interrupts since it last ran (at least 1).
   * @throws DmaError EINVAL vector out of range · EBUSY another kind is active, or the vector is armed ·
   *   ENOSPC the system granted fewer vectors · ENODEV closed
   */
  enable(kind: InterruptKind, vector: number, deliver: (count: number) => void): void;
  /** Disarm one vector; `deliver` is not called again. The last one turns the kind off. */
  disable(kind: InterruptKind, vector: number): void;
  /** Let INTx fire again: it masks itself each time it is delivered. */
  unmaskIntx(): void;
  /** Whether armed vectors keep the process alive. */
  setRef(kind: InterruptKind, vector: number, ref: boolean): void;
}

export interface PciTransport {
  /** Short name for people: `vfio`, `simulated`. */
  readonly name: string;
  /** `domain:bus:device.function`, e.g. `0000:00:10.0`. */
  readonly address: string;
  readonly config: ConfigAccess;
  /** By BAR number; undefined where the function has none (or the upper half of a 64-bit one). */
  readonly bars: readonly (Bar | undefined)[];
  readonly interrupts: InterruptAccess;
  /**
   * Function-level reset.
   * @throws DmaError EOPNOTSUPP the function cannot be reset alone · EAGAIN busy · ENODEV closed
   */
  reset(): void;
  /** Disarm everything and let the device go. Harmless to call twice. Memory is not touched. */
  close(): void;
}

/** What a way of opening a function must bring: the registers and the memory, composed. */
export interface OpenedFunction {
  readonly transport: PciTransport;
  readonly dma: DmaDevice;
}

/** Something `openPci` can open that is not a PCI address, e.g. the result of `simulate(...)`. */
export interface PciSource {
  open(options: OpenOptions): OpenedFunction;
}

export interface OpenOptions {
  /** Take memory from huge pages (vfio only). Default false. @throws DmaError ENOMEM when none are reserved */
  readonly hugepages?: boolean;
  /** How much is bounced, and when. The copybreak is measured on hardware and 32 KiB in the simulation by default. */
  readonly streaming?: Omit<StreamingOptions, 'cache' | 'copyMany'>;
}
