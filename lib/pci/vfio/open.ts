/**
 * Opening a function through VFIO:
 *
 *      facts of /sys     what stands in the way, before anything is touched (diagnose.ts)
 *      container         /dev/vfio/vfio
 *      group             /dev/vfio/N, viable, attached; then the IOMMU of the container
 *      device            VFIO_GROUP_GET_DEVICE_FD
 *
 * The container and the group belong to the address space, the device to the transport: whichever of the two is
 * closed first, the device is stopped or the mappings are gone before the other one ends.
 */
import { createHardwareDevice } from '../../debug/choose.ts';
import { Type1AddressSpace } from '../../iommu/type1.ts';
import { MemfdMemory } from '../../memory/memfd.ts';
import type { Addon, Handle } from '../../native/addon.ts';
import { loadAddon } from '../../native/load.ts';
import { VFIO_GROUP_VIABLE } from '../../native/vfio.ts';
import type { OpenedFunction, OpenOptions } from '../transport.ts';
import { diagnose, type OpenStep, openError } from './diagnose.ts';
import { KernelLog } from './kernel-log.ts';
import { mmioWindows } from './mmio-windows.ts';
import { type FunctionFacts, holders, parseAddress, readFacts } from './sysfs.ts';
import { VfioTransport } from './transport.ts';

/**
 * @param text PCI address of a function bound to vfio-pci; bus mastering is off and no interrupt armed at first
 * @throws DmaError as `openPci`; nothing stays open then
 */
export function openVfio(
  text: string,
  { hugepages = false, streaming, debug }: OpenOptions = {},
): OpenedFunction {
  const address = parseAddress(text);
  const native = loadAddon();
  const facts = readFacts(address);
  const obstacle = diagnose(facts);
  if (obstacle !== undefined) throw obstacle;
  const undo: (() => void)[] = [];
  try {
    const container = openContainer(native, facts, undo);
    const device = step(
      facts,
      'VFIO_GROUP_GET_DEVICE_FD',
      native.vfioDeviceOpen(container, facts.group!, address),
    );
    undo.push(() => native.vfioDeviceClose(device));
    const transport = new VfioTransport(native, device, address);
    const memory = new MemfdMemory({ hugepages });
    undo.push(() => memory.close());
    const addressSpace = new Type1AddressSpace(native, container, mmioWindows());
    const common = { copybreak: 'measure', ...streaming, name: address, copyMany: native.copyBatch } as const;
    const options = { ...common, memory, addressSpace };
    const dma = createHardwareDevice(options, debug, () => new KernelLog(address));
    return { transport, dma };
  } catch (error) {
    for (const close of undo.reverse()) close();
    throw error;
  }
}

/** A container whose only group is that of the function, ready to map. */
function openContainer(native: Addon, facts: FunctionFacts, undo: (() => void)[]): Handle {
  const group = facts.group!;
  const container = step(facts, 'open /dev/vfio/vfio', native.vfioContainerOpen());
  undo.push(() => native.vfioContainerClose(container));
  step(facts, 'open /dev/vfio/N', native.vfioGroupOpen(container, group));
  const status = step(facts, 'VFIO_GROUP_GET_STATUS', native.vfioGroupStatus(container, group));
  if ((status & VFIO_GROUP_VIABLE) === 0) throw openError(facts, 'VFIO_GROUP_GET_STATUS', EPERM, []);
  step(facts, 'VFIO_GROUP_SET_CONTAINER', native.vfioGroupAttach(container, group));
  step(facts, 'VFIO_SET_IOMMU', native.vfioSetIommu(container));
  return container;
}

/** -EPERM, which attaching a group that is not viable would give. */
const EPERM = -1;

function step(facts: FunctionFacts, what: OpenStep, result: number): number {
  if (result >= 0) return result;
  throw openError(facts, what, result, result === EBUSY ? holders(`/dev/vfio/${facts.group}`) : []);
}

const EBUSY = -16;
