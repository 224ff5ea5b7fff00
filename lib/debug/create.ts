/** Whether a device is debugged is decided here, when it is opened, and never again. */
import { DmaDevice, type DmaDeviceOptions } from '../dma/device.ts';
import type { AccessObserver } from '../iommu/device-access.ts';
import { Attribution, type FaultSource } from './attribution.ts';
import { DebugDmaDevice } from './device.ts';
import { HardwareWatch } from './hardware-watch.ts';
import { isNew } from './once.ts';
import { type DebugOptions, debugOptions } from './options.ts';
import { SimulationWatch } from './simulation-watch.ts';

/**
 * @param wanted what the program says @param byDefault whether to debug where neither it nor USERDMA_DEBUG says
 *   anything
 * @throws DmaError EINVAL options
 */
export function createDevice(
  options: DmaDeviceOptions,
  wanted: boolean | DebugOptions | undefined,
  byDefault: boolean,
): DmaDevice {
  const debug = debugOptions(wanted, byDefault);
  return debug === undefined ? new DmaDevice(options) : new DebugDmaDevice(options, debug);
}

/**
 * A device on real hardware. With dma-debug it has a watch of the memory that it shares with the CPU.
 * @param wanted as for `createDevice`; by default it is not @param faults of its IOMMU, if it has one; opened only when
 *   it is @throws DmaError EINVAL options
 */
export function createHardwareDevice(
  options: DmaDeviceOptions,
  wanted: boolean | DebugOptions | undefined,
  faults?: () => FaultSource,
): DmaDevice {
  const dma = createDevice(options, wanted, false);
  watchHardware(dma, faults);
  return dma;
}

/** The second half of `createHardwareDevice`: adds the watch and the faults to a device. */
export function watchHardware(dma: DmaDevice, faults?: () => FaultSource): void {
  if (!(dma instanceof DebugDmaDevice)) return;
  const { debug } = dma;
  if (debug.options.contents !== false) debug.watch = new HardwareWatch(debug, dma.memory);
  if (faults !== undefined) debug.attribution = new Attribution(debug, faults());
}

function* neighboursOf(dma: DmaDevice): Generator<SimulationWatch | undefined> {
  for (const other of dma.domain?.devices ?? []) {
    if (other === dma) continue;
    const watch = other instanceof DebugDmaDevice ? other.debug.watch : undefined;
    yield watch instanceof SimulationWatch ? watch : undefined;
  }
}

/** The observer of a simulated device's accesses; undefined without dma-debug. */
export function watchAccesses(dma: DmaDevice): AccessObserver | undefined {
  if (!(dma instanceof DebugDmaDevice)) return undefined;
  const watch = new SimulationWatch(dma.debug, dma.memory, () => neighboursOf(dma));
  dma.debug.watch = watch;
  return (access) => watch.access(access);
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
