/**
 * Simulated devices, and the interfaces to write one.
 *
 * @module userdma/sim
 */

export type { DmaObserver, DriverAct, ReachedMemory } from '../debug/observer.ts';
export { describeFault, FAULT, type Fault } from '../iommu/fault.ts';
export type { SimulatedGroup } from './group.ts';
export { FaultInjector, type FaultInjectorOptions, type FaultKind, type Injection } from './inject/inject.ts';
export type { FaultTiming } from './inject/rule.ts';
export type { LagOptions } from './lag/options.ts';
export type {
  BarDescription,
  CapabilityDescription,
  DeviceBus,
  DeviceModel,
  ExtendedDescription,
  FunctionDescription,
  MsixDescription,
  PowerDescription,
  Width,
} from './model.ts';
export { EduModel, type EduOptions } from './models/edu.ts';
export { NvmeModel, type NvmeOptions } from './models/nvme/model.ts';
export { NvmeNamespace, type NvmeNamespaceOptions } from './models/nvme/namespace.ts';
export type { SimulateOptions } from './options.ts';
export { type SimulatedSource, simulate } from './simulate.ts';
