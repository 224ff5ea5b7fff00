/** Plugs a device model into a simulated machine, as a source for `openPci`. */

import {
  argumentError,
  checkBoolean,
  checkedLater,
  checkFunction,
  checkInstance,
  checkOptions,
  checkText,
  describe,
  type OptionChecks,
  whole,
} from '../arguments.ts';
import { accessObserver, createSimulatedDevice, watchInterrupts } from '../debug/create-simulated.ts';
import type { DmaDevice } from '../dma/device.ts';
import type { DeviceParts } from '../dma/parts.ts';
import { DmaError } from '../errors.ts';
import type { IovaRange } from '../iommu/address-space.ts';
import type { Requester } from '../iommu/device-access.ts';
import { FAULT, type Fault, FaultLog } from '../iommu/fault.ts';
import type { SimulatedAddressSpace } from '../iommu/simulated.ts';
import { observeLooks } from '../looks.ts';
import type { HeapMemory } from '../memory/heap.ts';
import { checkPageSize } from '../page-size.ts';
import { parseAddress } from '../pci/address.ts';
import { checkOpenOptions } from '../pci/open-options.ts';
import type { OpenedFunction, OpenOptions, PciSource } from '../pci/transport.ts';
import { SimulatedBus } from './bus.ts';
import { SimulatedCache } from './cache.ts';
import { withDefaults } from './defaults.ts';
import { SimulatedDomain, SimulatedGroup } from './group.ts';
import { FaultInjector, type InjectedSlot } from './inject/inject.ts';
import { LaggingModel } from './lag/device.ts';
import { checkLag, type LagOptions, lagOf } from './lag/options.ts';
import { passTimeIn, passTimeInSyncs } from './lag/passing.ts';
import { injectedMachine, type MachineParts, PLAIN_MACHINE } from './machine-parts.ts';
import { MemoryLooks } from './memory-looks.ts';
import { checkModel, type DeviceModel } from './model.ts';
import { PC_MEMORY, SimulatedPhysicalMemory } from './physical-memory.ts';
import type { SimulatedTransport } from './transport.ts';

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

export interface SimulatedSource<M extends DeviceModel = DeviceModel> extends PciSource {
  readonly model: M;
  /** The group of this function, for other functions that are to be in it. */
  readonly group: SimulatedGroup;
  /** Simulated microseconds since power-up. */
  readonly now: number;
  /** The accesses of the device that failed, over all openings: the newest thousand, oldest first. */
  readonly faults: readonly Fault[];
  /**
   * Pull the device out of the running machine, with all of its functions. From here on every access and every wait
   * of the driver fails with ENODEV, and the device reaches nothing. Memory stays as it is until the function is
   * closed. Calling it twice is harmless.
   */
  unplug(): void;
  /**
   * Ask the driver for the device, as the kernel does before it removes one (PciFunction.onReleaseRequest). Resolves
   * when the driver has released it. The device is still in its slot then.
   */
  requestRelease(): Promise<void>;
  /** Tell the driver of an error that the system could not correct (PciFunction.onError). */
  reportError(): void;
  /**
   * Put the device back, with all of its functions. It is as after power-up. Until then it cannot be opened.
   * @throws DmaError EBUSY one of them is open
   */
  plugIn(): void;
}

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

/**
 * Plug `model` into a machine of its own. One driver at a time can open it, again and again. It keeps its registers
 * in between, as a device in its slot does.
 *
 * @throws DmaError EINVAL malformed address, or a model that describes a function that cannot exist · EBUSY the fault
 *   injector belongs to another simulation, or a function of the group has this address. `openPci` of the result:
 *   EBUSY while it is open, or its group is in another domain, ENODEV while it is pulled out, EINVAL page size,
 *   ranges or memory limit
 */
export function simulate<M extends DeviceModel>(model: M, wanted: SimulateOptions = {}): SimulatedSource<M> {
  checkModel(model);
  checkOptions<SimulateOptions>(wanted, 'simulate', SIMULATE_CHECKS);
  const options = withDefaults(wanted);
  const { onFault, inject, group = new SimulatedGroup() } = options;
  const address = parseAddress(options.address ?? '0000:00:10.0');
  const faults = new FaultLog(onFault === undefined ? {} : { onFault });
  const parts = inject === undefined ? PLAIN_MACHINE : injectedMachine(inject);
  group.checkFree(address);
  const lag = model.lags === false ? undefined : lagOf(options.lag);
  const plugged = parts.model(model);
  const lagging = lag && new LaggingModel(plugged, lag);
  const bus = new SimulatedBus(lagging ?? plugged, faults, lagging);
  // A card is pulled out and plugged in with all of its functions.
  const card = () => group.functionsOf(address).map((member) => member.bus);
  const unplug = (): void => {
    for (const one of card()) one.unplug();
  };
  inject?.join(slotOf(bus, unplug));
  group.add({ address, bus });
  const connect = (
    addressSpace: SimulatedAddressSpace,
    looks: MemoryLooks,
    leave: () => void,
    makeDevice: () => DmaDevice,
  ): OpenedFunction => {
    const { readGranule } = model.config;
    const requester: Requester = { faults, onAccess: undefined, readGranule };
    const onRelease = (): void => {
      looks.delete(bus.clock);
      leave();
    };
    looks.add(bus.clock);
    let transport: SimulatedTransport | undefined;
    try {
      transport = parts.transport({ address, bus, addressSpace, requester, onRelease, group });
      const dma = makeDevice();
      requester.onAccess = accessObserver(dma);
      requester.onLostInterrupt = watchInterrupts(dma);
      return { dma, transport };
    } catch (error) {
      if (transport === undefined) onRelease();
      else transport.close();
      throw error;
    }
  };
  const open = (wish: OpenOptions): OpenedFunction => {
    if (wish === undefined) throw argumentError('the options of open', wish, 'pass an object');
    checkOpenOptions(wish);
    const { streaming, debug, domain: wanted } = wish;
    const common = { ...streaming, name: address };
    if (options.iommu === false) {
      if (wanted !== undefined) throw noDomain(address);
      const { memory: heap, space, cache, looks } = newMachine(options, parts, faults);
      const memory = new SimulatedPhysicalMemory({ heap, addressSpace: space });
      return connect(
        space,
        looks,
        () => {},
        () =>
          createSimulatedDevice(
            { ...common, cache, memory, alter: alterFor(parts, lagging, looks) },
            debug,
            model.observer,
          ),
      );
    }
    const make = (): SimulatedDomain => {
      const { memory, space, cache, looks } = newMachine(options, parts, faults);
      return new SimulatedDomain(space, memory, cache, looks, options.forceDac);
    };
    const domain = group.enter(wanted, make);
    const leave = (): void => group.leave();
    const { cache, looks } = domain;
    const alter = alterFor(parts, lagging, looks);
    return connect(domain.space, looks, leave, () =>
      createSimulatedDevice({ ...common, cache, domain, alter }, debug, model.observer),
    );
  };
  return {
    model,
    group,
    get now() {
      return bus.now;
    },
    faults: faults.list,
    open,
    unplug,
    requestRelease: () => bus.requestRelease(),
    reportError: () => bus.reportError(),
    plugIn: () => {
      for (const one of card()) one.checkReleased();
      for (const one of card()) one.plugIn();
    },
  };
}

/**
 * The changes of the injector are applied first, and the passing of time around them: a call that fails takes time,
 * too.
 */
function alterFor(
  { alter }: MachineParts,
  lagging: LaggingModel | undefined,
  looks: MemoryLooks,
): (parts: DeviceParts) => DeviceParts {
  return (parts) => {
    const polled = passTimeInSyncs(alter?.(parts) ?? parts, looks);
    return lagging === undefined ? polled : passTimeIn(polled, lagging);
  };
}

interface Machine {
  readonly memory: HeapMemory;
  readonly space: SimulatedAddressSpace;
  readonly cache: SimulatedCache | undefined;
  readonly looks: MemoryLooks;
}

/** The memory, and the device's view of it. */
function newMachine(options: SimulateOptions, parts: MachineParts, faults: FaultLog): Machine {
  const { iommu = true, coherent = true, pageSize = 4096, foreignPageOffset = 16 } = options;
  checkPageSize(pageSize);
  checkPageOffset(foreignPageOffset, pageSize);
  const { lineSize, memoryLimit, ranges, mappingLimit, pinsForeignMemory } = options;
  const memory = parts.memory({ pageSize, ...(memoryLimit !== undefined && { limit: memoryLimit }) });
  const coherenceOf = (buffer: ArrayBufferLike) => memory.coherenceOf(buffer);
  const pageOffset = (buffer: ArrayBufferLike) => (coherenceOf(buffer) === undefined ? foreignPageOffset : 0);
  const cache = coherent
    ? undefined
    : new SimulatedCache({ coherenceOf, pageOffset, ...(lineSize !== undefined && { lineSize }) });
  // Without an IOMMU there are no mappings that an injector could make fail.
  const { addressSpace } = iommu ? parts : PLAIN_MACHINE;
  const space = addressSpace({
    pageSize,
    faults,
    pageOffset,
    ...(cache !== undefined && {
      deviceView: (buffer, offset, size) => cache.deviceView(buffer, offset, size),
    }),
    ...(ranges !== undefined && { ranges }),
    ...(mappingLimit !== undefined && { mappingLimit }),
    ...(pinsForeignMemory !== undefined && { pinsForeignMemory }),
    ...(!iommu && { ranges: ranges ?? PC_MEMORY, mappingLimit: Infinity, nothingThere: FAULT.noMemory }),
  });
  const looks = new MemoryLooks();
  const allocate = memory.allocate.bind(memory);
  memory.allocate = (size, coherence) => {
    const buffer = allocate(size, coherence);
    observeLooks(buffer, looks.look);
    return buffer;
  };
  return { memory, space, cache, looks };
}

function slotOf(bus: SimulatedBus, unplug: () => void): InjectedSlot {
  return {
    clock: bus.clock,
    get plugged() {
      return bus.plugged;
    },
    unplug,
  };
}

function noDomain(address: string): DmaError {
  return new DmaError('EINVAL', `${address} is behind no IOMMU, and in no domain`, {
    remedy: 'simulate it with an IOMMU, or open it without a domain',
  });
}

function checkPageOffset(offset: number, pageSize: number): void {
  if (Number.isInteger(offset) && offset >= 0 && offset < pageSize) return;
  throw new DmaError('EINVAL', `the page offset of foreign memory is ${describe(offset)}`, {
    remedy: `pass a whole number from 0 to ${pageSize - 1}`,
  });
}
