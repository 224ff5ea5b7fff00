/** The choice of create.ts for simulated devices. It is a file of its own, because a program with hardware needs none of it. */
import type { DmaDevice, DmaDeviceOptions } from '../dma/device.ts';
import type { AccessObserver } from '../iommu/device-access.ts';
import { createDevice } from './create.ts';
import { DebugDmaDevice } from './device.ts';
import { ObservedWatch } from './observed-watch.ts';
import type { DmaObserver } from './observer.ts';
import { isNew } from './once.ts';
import type { DebugOptions } from './options.ts';
import { SimulationWatch } from './simulation-watch.ts';

/**
 * A simulated device. With dma-debug it has a watch of its accesses, which `accessObserver` returns.
 * @param wanted as for `createDevice`; the default is debugging
 * @param observer is told what the driver does with memory, and where the device writes
 * @throws DmaError EINVAL options
 */
export function createSimulatedDevice(
  options: DmaDeviceOptions,
  wanted: boolean | DebugOptions | undefined,
  observer?: DmaObserver,
): DmaDevice {
  return createDevice(options, wanted, true, (device) => {
    const { debug, memory } = device;
    const neighbours = () => neighboursOf(device);
    return {
      watch:
        observer === undefined
          ? new SimulationWatch(debug, memory, neighbours)
          : new ObservedWatch(debug, memory, neighbours, observer),
    };
  });
}

/** The watches of the other devices in the domain; undefined for a device without one. */
function* neighboursOf(dma: DmaDevice): Generator<SimulationWatch | undefined> {
  for (const other of dma.domain?.devices ?? []) if (other !== dma) yield simulationWatchOf(other);
}

function simulationWatchOf(dma: object): SimulationWatch | undefined {
  const watch = dma instanceof DebugDmaDevice ? dma.debug.watch : undefined;
  return watch instanceof SimulationWatch ? watch : undefined;
}

/** The observer of a simulated device's accesses; undefined without dma-debug. */
export function accessObserver(dma: DmaDevice): AccessObserver | undefined {
  const watch = simulationWatchOf(dma);
  return watch === undefined ? undefined : (access) => watch.access(access);
}

/** The function that reports a message interrupt for a vector that is not armed; undefined without dma-debug. */
export function watchInterrupts(dma: DmaDevice): ((kind: string, vector: number) => void) | undefined {
  if (!(dma instanceof DebugDmaDevice)) return undefined;
  const { debug } = dma;
  const told = new Set<string>();
  return (kind, vector) => {
    const which = `${kind === 'msix' ? 'MSI-X' : 'MSI'} vector ${vector}`;
    if (debug.disabled || !isNew(told, which)) return;
    const message = `the device sent ${which}, which is not armed, and the interrupt is lost`;
    const remedy = `arm it before the device starts, with fn.interrupts.${kind}(${vector})`;
    debug.report({ kind: 'interrupt-not-armed', message: `${dma.name}: ${message}; ${remedy}` });
  };
}
