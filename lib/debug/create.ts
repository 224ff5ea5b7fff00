/** The choice whether a device has dma-debug. It is made here, when the device is opened, and never changes. */
import { DmaDevice, type DmaDeviceOptions } from '../dma/device.ts';
import { Attribution, type FaultSource } from './attribution.ts';
import { DebugDmaDevice, type Observe } from './device.ts';
import { HardwareWatch } from './hardware-watch.ts';
import { type DebugOptions, debugOptions } from './options.ts';

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
