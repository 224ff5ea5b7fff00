/** The simulated machine of the bench with dma-debug, which is the same but for the class of the device. */
import { DebugDmaDevice, type Observe } from '../../lib/debug/device.ts';
import type { DebugOptions } from '../../lib/debug/options.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { CountingAddressSpace, type Machine, type MachineOptions } from './machine.ts';

export function debugMachine(
  options: MachineOptions = {},
  debug: DebugOptions = {},
  observe?: Observe,
): Machine {
  const space = new CountingAddressSpace(new SimulatedAddressSpace({ mappingLimit: 2 ** 24 }));
  const common = { name: 'bench', memory: new HeapMemory(), addressSpace: space, ...options };
  return { dma: new DebugDmaDevice(common, { print: false, ...debug }, observe), space };
}
