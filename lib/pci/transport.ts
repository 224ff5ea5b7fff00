/**
 * The PciTransport seam: how the library reaches one PCI function.
 *
 *      vfio         /dev/vfio of Linux
 *      sysfs        files of /sys, around the IOMMU (openPciUnsafe)
 *      simulated    a device model in this process
 *
 * A transport moves raw accesses. PciFunction (function.ts) is built on it, and is the object that a driver uses.
 */
import type { DebugOptions } from '../debug/options.ts';
import type { DmaDevice } from '../dma/device.ts';
import type { IommuDomain } from '../dma/operations/domain.ts';
import type { StreamingOptions } from '../dma/streaming/streaming.ts';
import { DmaError } from '../errors.ts';
import type { InterruptAccess } from '../interrupts/access.ts';
import type { HugePages } from '../memory/hugepages.ts';
import type { Bar } from './bar.ts';

/** Raw accesses to configuration space. */
export interface ConfigAccess {
  /** Bytes of configuration space: 256 (conventional) or 4096 (PCI Express). */
  readonly size: number;
  /** Little-endian; the caller has checked bounds and alignment. @throws DmaError ENODEV, EIO */
  read(offset: number, width: 1 | 2 | 4): number;
  /** Writes 1, 2 or 4 bytes. */
  write(offset: number, width: 1 | 2 | 4, value: number): void;
}

/** Events of a function that its driver did not cause. Called from the event loop, or inside an access. */
export interface FunctionEvents {
  /** The system saw an error of the function that it could not correct (VFIO's ERR). */
  error(): void;
  /** The system wants the function back (VFIO's REQ) and waits. It asks again if the wait is long. */
  releaseRequest(): void;
  /**
   * A hot reset that another function asked for reset this one, too. @param functions addresses of all that were
   * reset
   */
  reset(functions: readonly string[]): void;
  /** The device is gone, and the transport has released it. Called at most once. */
  gone(error: DmaError): void;
}

/** The expansion ROM. */
export interface RomAccess {
  /** Bytes. */
  readonly size: number;
  /**
   * The whole content of the ROM, as far as the transport can read it.
   * @throws DmaError EIO it does not answer · ENODEV closed, or gone · EACCES no permission
   */
  read(): Uint8Array;
}

/** How a function is reached: VFIO, files of /sys, or a simulated bus. */
export interface PciTransport {
  /** Short name for people: `vfio`, `sysfs`, `simulated`. */
  readonly name: string;
  /** `domain:bus:device.function`, e.g. `0000:00:10.0`. */
  readonly address: string;
  readonly config: ConfigAccess;
  /**
   * By BAR number; undefined where the function has no BAR, or where the number is the upper half of a 64-bit
   * BAR.
   */
  readonly bars: readonly (Bar | undefined)[];
  readonly interrupts: InterruptAccess;
  /** Undefined for a function without an expansion ROM. */
  readonly rom: RomAccess | undefined;
  /**
   * Function-level reset.
   * @throws DmaError EOPNOTSUPP the function cannot be reset alone · EAGAIN busy · ENODEV closed, or gone
   */
  reset(): void;
  /**
   * Reset the bus or slot of the function. Returns the addresses of all functions that were reset. The
   * `FunctionEvents` of the others tell those that this process has open.
   * @throws DmaError EOPNOTSUPP its bus cannot be reset · EPERM it would hit functions that this process does not
   *   hold · EAGAIN busy · EIO it failed, but the functions may have been reset · ENODEV closed, or gone
   */
  hotReset(): readonly string[];
  /** The function was reset, and decodes its registers again: other devices that they are lent to reach them again. */
  wasReset?(): void;
  /** True if the kernel (VFIO) restores configuration space when the function comes back from D3hot. */
  readonly restoresConfiguration: boolean;
  /** Report events to `events` from now on. This does not keep the process alive. To be called once. */
  watch(events: FunctionEvents): void;
  /**
   * The device is gone, or has to count as gone. From then on every access and every wait throws the same
   * DmaError ENODEV, and the system has the function back. Calling it twice is harmless.
   */
  leave(): void;
  /** Disarm all interrupts and release the device. Memory is not touched. Calling it twice is harmless. */
  close(): void;
}

/** True if a hot reset that threw this error went so far that functions may have lost their registers. */
export function mayHaveReset(error: unknown): boolean {
  return error instanceof DmaError && error.code === 'EIO';
}

/** An opened function: its registers and its memory. Every way of opening a function returns one. */
export interface OpenedFunction {
  readonly transport: PciTransport;
  readonly dma: DmaDevice;
}

/** A function that `openPci` can open without a PCI address, e.g. the result of `simulate(...)`. */
export interface PciSource {
  /** Opens the function. `openPci` calls it. */
  open(options: OpenOptions): OpenedFunction;
}

/**
 * The open node of a function, for a program that may not open it itself: `openPci({ fd })`. A program with the
 * rights opens /dev/vfio/devices/vfioN and passes the descriptor on.
 */
export interface PciDescriptor {
  /**
   * The library owns the descriptor from then on. It closes it with the function, or when opening fails. If the
   * descriptor does not belong to a function, the library leaves it alone (EINVAL).
   */
  readonly fd: number;
  /** An open /dev/iommu, if the program may not open that node either. The caller keeps owning it. */
  readonly iommufd?: number;
}

export function isDescriptor(target: unknown): target is PciDescriptor {
  return typeof target === 'object' && target !== null && 'fd' in target;
}

/**
 * Interfaces of the kernel through which VFIO gives a device an address space: an IOAS of /dev/iommu, or a container of
 * /dev/vfio/vfio.
 */
export type IommuInterface = 'iommufd' | 'container';

/** Options of every way to open a function. */
export interface OpenOptions {
  /**
   * The interface of the kernel through which the device gets an address space: 'iommufd' (/dev/iommu, Linux 6.6
   * or newer) or 'container' (/dev/vfio/vfio). Default: the first that works, and iommufd comes first.
   * `PciFunction.domain.name` tells which one is in use (`iommufd` or `type1`). A function that joins a domain
   * uses the interface of that domain.
   */
  readonly iommu?: IommuInterface;
  /**
   * The token (a UUID) of a physical function with virtual ones, if all of them are bound to vfio-pci. The physical
   * function is opened with a token first, and each virtual function is opened with the same one.
   */
  readonly vfToken?: string;
  /**
   * Allocate memory from huge pages (vfio only). Default false. With true or a size, allocations throw DmaError
   * ENOMEM if too few huge pages are reserved, and ENODEV if the machine has none of that size. With 'prefer',
   * the library then uses ordinary pages, and one process warning (USERDMA_HUGEPAGES) tells so.
   */
  readonly hugepages?: HugePages;
  /**
   * The NUMA node that memory comes from while it has room (vfio only). Default: the node of the device, if the
   * machine has several. The first function of a domain decides.
   */
  readonly numaNode?: number;
  /**
   * How much the library bounces, and when. The default copybreak is measured on hardware, and is 32 KiB in the
   * simulation.
   */
  readonly streaming?: Omit<StreamingOptions, 'cache' | 'copyMany'>;
  /**
   * Watch the driver's DMA calls and report its mistakes (dma-debug). The default is true in a simulation and
   * false on hardware; USERDMA_DEBUG=1 or 0 changes the default. @throws DmaError EINVAL options
   */
  readonly debug?: boolean | DebugOptions;
  /**
   * The domain of another function (`PciFunction.domain`) that this function is to share. Both functions then
   * have one address space and one memory, so an address that one of them got is valid for both. Default: a
   * domain of its own. Functions of one IOMMU group always share a domain, because the IOMMU cannot tell them
   * apart. The first function of a domain decides where its memory comes from.
   */
  readonly domain?: IommuDomain;
  /**
   * How long listeners of `PciFunction.onReleaseRequest` may take, in milliseconds. After that the library
   * releases the function even if a listener is not done. Default 2000.
   */
  readonly releaseGrace?: number;
}
