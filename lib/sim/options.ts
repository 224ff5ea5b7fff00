/** The options of a simulated machine, and their checks. defaults.ts fills in those that the program does not set. */

import {
  checkBoolean,
  checkedLater,
  checkFunction,
  checkInstance,
  checkText,
  type OptionChecks,
  whole,
} from '../arguments.ts';
import type { IovaRange } from '../iommu/address-space.ts';
import type { Fault } from '../iommu/fault.ts';
import { SimulatedGroup } from './group.ts';
import { FaultInjector } from './inject/inject.ts';
import { checkLag, type LagOptions } from './lag/options.ts';

/** The machine that `simulate` makes around a model. */
export interface SimulateOptions {
  /** `domain:bus:device.function`. Default `0000:00:10.0`. */
  readonly address?: string;
  /** True if there is an IOMMU. Without one, memory has device addresses of its own. Default true. */
  readonly iommu?: boolean;
  /**
   * The device addresses that exist, ascending, disjoint, both ends inclusive. With an IOMMU they are the usable IOVA
   * ranges; default: those of Intel VT-d with 39 bits. Without an IOMMU they are the ranges of memory; default: 1 MiB
   * to 3 GiB and 4 to 20 GiB.
   */
  readonly ranges?: readonly IovaRange[];
  /** True if the device sees the CPU's caches. With false, a driver that forgets a sync fails. Default true. */
  readonly coherent?: boolean;
  /** The size of a cache line if the device is not coherent: bytes, a power of two. Default 64. */
  readonly lineSize?: number;
  /** True if the IOMMU maps the program's own memory in place. Default true. */
  readonly pinsForeignMemory?: boolean;
  /**
   * The offset in its page at which every buffer of the program's own memory starts, because V8 does not align
   * buffers. Default 16.
   */
  readonly foreignPageOffset?: number;
  /** The page size of the IOMMU and of memory: bytes, a power of two. Default 4096. */
  readonly pageSize?: number;
  /** The number of mappings that the IOMMU can hold; ENOSPC beyond. Default 65,535. */
  readonly mappingLimit?: number;
  /** The bytes of memory that the machine has for DMA; ENOMEM beyond. Default: no limit. */
  readonly memoryLimit?: number;
  /** Called at each fault, in the middle of the access that failed. If it throws, a test fails on the spot. */
  readonly onFault?: (fault: Fault) => void;
  /**
   * The IOMMU group of another function, `SimulatedSource.group`, if this function is in it, too. The IOMMU cannot
   * tell the two apart, so they share a domain while both are open. Functions whose addresses differ only in the last
   * digit belong to one device: their headers say so, and they are pulled out together. Default: a group of its own.
   */
  readonly group?: SimulatedGroup;
  /** The faults to inject, and when. Default: no faults except those that the model or the driver causes. */
  readonly inject?: FaultInjector;
  /**
   * True, or options, if the device lags, as PCI Express allows: register writes of the driver and writes of the
   * device take time to arrive, and time passes in the calls that unmap, free and close. The times are random, and
   * repeatable by the seed. Default: it does not lag, but after `checkDmaAfterEach` of userdma/testing it does.
   */
  readonly lag?: boolean | LagOptions;
  /**
   * True to allocate addresses above 4 GiB first if the device's mask allows them, as Linux does with
   * iommu.forcedac=1. Default: those below 4 GiB first, but after `checkDmaAfterEach` those above.
   */
  readonly forceDac?: boolean;
}

/** The checks of the options that need no other option. */
export const SIMULATE_CHECKS: OptionChecks<Required<SimulateOptions>> = {
  address: checkText,
  iommu: checkBoolean,
  ranges: checkedLater,
  coherent: checkBoolean,
  lineSize: checkedLater,
  pinsForeignMemory: checkBoolean,
  foreignPageOffset: checkedLater,
  // `open` checks page size, ranges and limits.
  pageSize: checkedLater,
  mappingLimit: whole(0, Number.MAX_SAFE_INTEGER),
  memoryLimit: whole(0, Number.MAX_SAFE_INTEGER),
  onFault: checkFunction,
  group: checkInstance(SimulatedGroup, 'pass the group of another source, SimulatedSource.group'),
  inject: checkInstance(FaultInjector, 'pass new FaultInjector()'),
  lag: checkLag,
  forceDac: checkBoolean,
};
