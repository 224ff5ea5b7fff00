/** Plugs a device model into a simulated machine, as a source for `openPci`. */

import { argumentError, checkOptions } from '../arguments.ts';
import { accessObserver, createSimulatedDevice, watchInterrupts } from '../debug/create-simulated.ts';
import type { DmaDevice } from '../dma/device.ts';
import type { DeviceParts } from '../dma/parts.ts';
import { DmaError } from '../errors.ts';
import type { Requester } from '../iommu/device-access.ts';
import { type Fault, FaultLog } from '../iommu/fault.ts';
import type { SimulatedAddressSpace } from '../iommu/simulated.ts';
import { parseAddress } from '../pci/address.ts';
import { checkOpenOptions } from '../pci/open-options.ts';
import type { OpenedFunction, OpenOptions, PciSource } from '../pci/transport.ts';
import { SimulatedBus } from './bus.ts';
import { withDefaults } from './defaults.ts';
import { SimulatedDomain, SimulatedGroup } from './group.ts';
import type { InjectedSlot } from './inject/inject.ts';
import { LaggingModel } from './lag/device.ts';
import { lagOf } from './lag/options.ts';
import { passTimeIn, passTimeInSyncs } from './lag/passing.ts';
import { machineMemory } from './machine-memory.ts';
import { injectedMachine, type MachineParts, PLAIN_MACHINE } from './machine-parts.ts';
import type { MemoryLooks } from './memory-looks.ts';
import { checkModel, type DeviceModel } from './model.ts';
import { SIMULATE_CHECKS, type SimulateOptions } from './options.ts';
import { SimulatedPhysicalMemory } from './physical-memory.ts';
import type { SimulatedTransport } from './transport.ts';

/** A simulated device in its slot. `openPci` opens it. */
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
      const { memory: heap, space, cache, looks } = machineMemory(options, parts, faults);
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
      const { memory, space, cache, looks } = machineMemory(options, parts, faults);
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
