/**
 * The PciTransport seam: how one PCI function is reached.
 *
 *      vfio         /dev/vfio of Linux
 *      sysfs        files of /sys, around the IOMMU (openPciUnsafe)
 *      simulated    a device model in this process
 *
 * A transport moves raw accesses; PciFunction (function.ts) is what a driver holds.
 */
import type { DebugOptions } from '../debug/options.ts';
import type { DmaDevice } from '../dma/device.ts';
import type { IommuDomain } from '../dma/operations/domain.ts';
import type { StreamingOptions } from '../dma/streaming/streaming.ts';
import { DmaError } from '../errors.ts';
import type { InterruptAccess } from '../interrupts/access.ts';
import type { HugePages } from '../memory/hugepages.ts';
import type { Bar } from './bar.ts';

export interface ConfigAccess {
  /** Bytes of configuration space: 256 (conventional) or 4096 (PCI Express). */
  readonly size: number;
  /** Little-endian; the caller has checked bounds and alignment. @throws DmaError ENODEV, EIO */
  read(offset: number, width: 1 | 2 | 4): number;
  write(offset: number, width: 1 | 2 | 4, value: number): void;
}

/** Events of a function that its driver did not cause. Called from the event loop, or inside an access. */
export interface FunctionEvents {
  /** The system saw an error of the function that it could not correct (VFIO's ERR). */
  error(): void;
  /** The system wants the function back (VFIO's REQ), and waits; it asks again when that takes long. */
  releaseRequest(): void;
  /** A hot reset that another function asked for reset this one too. @param functions addresses of all that were */
  reset(functions: readonly string[]): void;
  /** The device is gone, and the transport has let it go. At most once. */
  gone(error: DmaError): void;
}

/** The expansion ROM. */
export interface RomAccess {
  /** Bytes. */
  readonly size: number;
  /**
   * All of it that there is.
   * @throws DmaError EIO it does not answer · ENODEV closed, or gone · EACCES no permission
   */
  read(): Uint8Array;
}

export interface PciTransport {
  /** Short name for people: `vfio`, `sysfs`, `simulated`. */
  readonly name: string;
  /** `domain:bus:device.function`, e.g. `0000:00:10.0`. */
  readonly address: string;
  readonly config: ConfigAccess;
  /** By BAR number; undefined where the function has none (or the upper half of a 64-bit one). */
  readonly bars: readonly (Bar | undefined)[];
  readonly interrupts: InterruptAccess;
  /** Undefined for a function without one. */
  readonly rom: RomAccess | undefined;
  /**
   * Function-level reset.
   * @throws DmaError EOPNOTSUPP the function cannot be reset alone · EAGAIN busy · ENODEV closed, or gone
   */
  reset(): void;
  /**
   * Reset the bus or slot of the function; the addresses of all functions that were. Those of the others that this
   * process has open are told by their `FunctionEvents`.
   * @throws DmaError EOPNOTSUPP its bus cannot be reset · EPERM functions would be hit that this process does not hold
   *   · EAGAIN busy · EIO it failed, and they may have been reset all the same · ENODEV closed, or gone
   */
  hotReset(): readonly string[];
  /** Whether the kernel (VFIO) restores configuration space when the function comes back from D3hot. */
  readonly restoresConfiguration: boolean;
  /** Tell of these from now on. Nothing of it keeps the process alive. To be called once. */
  watch(events: FunctionEvents): void;
  /**
   * The device is gone, or to be taken for it: every access and every wait fails from here on with one DmaError ENODEV,
   * and the system has the function back. Harmless to call twice.
   */
  leave(): void;
  /** Disarm everything and let the device go. Harmless to call twice. Memory is not touched. */
  close(): void;
}

/** Whether a hot reset that threw this has gone so far that the functions may have lost their registers. */
export function mayHaveReset(error: unknown): boolean {
  return error instanceof DmaError && error.code === 'EIO';
}

/** An opened function: its registers and its memory. Every way of opening a function returns one. */
export interface OpenedFunction {
  readonly transport: PciTransport;
  readonly dma: DmaDevice;
}

/** Something `openPci` can open that is not a PCI address, e.g. the result of `simulate(...)`. */
export interface PciSource {
  open(options: OpenOptions): OpenedFunction;
}

/**
 * The open node of a function, for a program that may not open it: `openPci({ fd })`. A program with the rights opens
 * /dev/vfio/devices/vfioN and passes the descriptor on.
 */
export interface PciDescriptor {
  /**
   * It belongs to the function from here on, and is closed with it, or when opening fails. A descriptor that is of no
   * function is left alone (EINVAL).
   */
  readonly fd: number;
  /** An open /dev/iommu, where the program may not open that either. It stays the caller's. */
  readonly iommufd?: number;
}

export function isDescriptor(target: unknown): target is PciDescriptor {
  return typeof target === 'object' && target !== null && 'fd' in target;
}

export interface OpenOptions {
  /**
   * The interface of the kernel through which the device gets an address space: 'iommufd' (/dev/iommu, Linux 6.6 or newer)
   * or 'container' (/dev/vfio/vfio). Default: the container, and iommufd where the kernel has none; `PciFunction.domain.name`
   * says which (`iommufd` or `type1`). A function that joins a domain uses that of the domain.
   */
  readonly iommu?: 'iommufd' | 'container';
  /**
   * Take memory from huge pages (vfio only). Default false. With true or a size, allocations throw DmaError ENOMEM when
   * too few are reserved and ENODEV when there is no such size; with 'prefer' ordinary pages are taken then, and a
   * process warning (USERDMA_HUGEPAGES) says so once.
   */
  readonly hugepages?: HugePages;
  /** How much is bounced, and when. The copybreak is measured on hardware and 32 KiB in the simulation by default. */
  readonly streaming?: Omit<StreamingOptions, 'cache' | 'copyMany'>;
  /**
   * Watch what the driver does and report its mistakes (dma-debug): how, or whether at all. Default: in a simulation,
   * not on hardware; USERDMA_DEBUG=1 or 0 says otherwise. @throws DmaError EINVAL options
   */
  readonly debug?: boolean | DebugOptions;
  /**
   * The domain of another function, `PciFunction.domain`, that this one is to share: one address space and one memory
   * for both, so that an address which either was given is valid for both. Default: one of its own; functions of one
   * IOMMU group, which the IOMMU does not tell apart, always share one. Where memory comes from is settled by the first
   * of them.
   */
  readonly domain?: IommuDomain;
  /**
   * How long listeners of `PciFunction.onReleaseRequest` may take before the function is let go all the same, in
   * milliseconds. Default 2000.
   */
  readonly releaseGrace?: number;
}
