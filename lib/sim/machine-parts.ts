/** The parts of a simulated machine: plain ones, or parts that fail when the injector says so (inject.ts). */
import type { DeviceParts } from '../dma/parts.ts';
import { SimulatedAddressSpace, type SimulatedAddressSpaceOptions } from '../iommu/simulated.ts';
import { HeapMemory, type HeapMemoryOptions } from '../memory/heap.ts';
import { InjectedModel } from './inject/device.ts';
import type { FaultInjector } from './inject/inject.ts';
import { InjectedAddressSpace, InjectedMemory, InjectedTransport, injectInto } from './inject/machine.ts';
import type { DeviceModel } from './model.ts';
import { SimulatedTransport, type SimulatedTransportOptions } from './transport.ts';

export interface MachineParts {
  /** Returns the device to plug in for a model. */
  model(model: DeviceModel): DeviceModel;
  memory(options: HeapMemoryOptions): HeapMemory;
  addressSpace(options: SimulatedAddressSpaceOptions): SimulatedAddressSpace;
  transport(options: SimulatedTransportOptions): SimulatedTransport;
  /** The value for `DmaDevice`'s option `alter`. */
  readonly alter: ((parts: DeviceParts) => DeviceParts) | undefined;
}

export const PLAIN_MACHINE: MachineParts = {
  model: (model) => model,
  memory: (options) => new HeapMemory(options),
  addressSpace: (options) => new SimulatedAddressSpace(options),
  transport: (options) => new SimulatedTransport(options),
  alter: undefined,
};

export function injectedMachine(injector: FaultInjector): MachineParts {
  return {
    model: (model) => new InjectedModel(model, injector),
    memory: (options) => new InjectedMemory(options, injector),
    addressSpace: (options) => new InjectedAddressSpace(options, injector),
    transport: (options) => new InjectedTransport(options, injector),
    alter: (parts) => injectInto(parts, injector),
  };
}
