/** The choice whether a device has dma-debug. It is made here, when the device is opened, and never changes. */
import { DmaDevice, type DmaDeviceOptions } from '../dma/device.ts';
import type { AccessObserver } from '../iommu/device-access.ts';
import { Attribution, type FaultSource } from './attribution.ts';
import { DebugDmaDevice, type Observe } from './device.ts';
import { HardwareWatch } from './hardware-watch.ts';
import { ObservedWatch } from './observed-watch.ts';
import type { DmaObserver } from './observer.ts';
import { isNew } from './once.ts';
import { type DebugOptions, debugOptions } from './options.ts';
import { SimulationWatch } from './simulation-watch.ts';

/**
 * A device, with dma-debug if the program wants it.
 * @param wanted the program's choice
 * @param byDefault the choice if neither the program nor USERDMA_DEBUG makes one
 * @param observe makes the observers of a device with dma-debug
 * @throws DmaError EINVAL options
 */
export function createDevice(
  options: DmaDeviceOptions,
  wanted: boolean | DebugOptions | undefined,
  byDefault: boolean,
  observe?: Observe,
): DmaDevice {
  const debug = debugOptions(wanted, byDefault);
  return debug === undefined ? new DmaDevice(options) : new DebugDmaDevice(options, debug, observe);
}

/**
 * A device on real hardware. With dma-debug it has a watch of the memory that it shares with the CPU.
 * @param wanted as for `createDevice`; the default is no debugging
 * @param faults opens the faults of its IOMMU, if it has one; called only with dma-debug
 * @throws DmaError EINVAL options
 */
export function createHardwareDevice(
  options: DmaDeviceOptions,
  wanted: boolean | DebugOptions | undefined,
  faults?: () => FaultSource,
): DmaDevice {
  return createDevice(options, wanted, false, hardwareObservers(faults));
}

/** The observers of a device on real hardware: a watch of the contents of memory, and the faults of its IOMMU. */
export function hardwareObservers(faults?: () => FaultSource): Observe {
  return ({ debug, memory }) => ({
    isHardware: true,
    watch: debug.options.contents === false ? undefined : new HardwareWatch(debug, memory),
    attribution: faults === undefined ? undefined : new Attribution(debug, faults()),
  });
}

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
