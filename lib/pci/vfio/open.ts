/**
 * Opening a function through VFIO:
 *
 *      facts of /sys     what stands in the way, before anything is touched (diagnose.ts)
 *      group             /dev/vfio/N, in a container: the domain of the function (group.ts)
 *      device            VFIO_GROUP_GET_DEVICE_FD
 *
 * The device belongs to the transport, the domain to the devices in it: whichever of the two is closed first, the device
 * is stopped or the mappings are gone before the other one ends.
 */
import { createHardwareDevice } from '../../debug/create.ts';
import { loadAddon } from '../../native/load.ts';
import { parseAddress } from '../address.ts';
import { readFacts } from '../facts.ts';
import type { OpenedFunction, OpenOptions } from '../transport.ts';
import { diagnose } from './diagnose.ts';
import { step, VfioGroup } from './group.ts';
import { KernelLog } from './kernel-log.ts';
import { VfioTransport } from './transport.ts';

/**
 * @param text PCI address of a function bound to vfio-pci; bus mastering is off and no interrupt armed at first
 * @throws DmaError as `openPci`; nothing stays open then
 */
export function openVfio(
  text: string,
  { hugepages = false, streaming, debug, domain: wanted }: OpenOptions = {},
): OpenedFunction {
  const address = parseAddress(text);
  const native = loadAddon();
  const facts = readFacts(address);
  const obstacle = diagnose(facts);
  if (obstacle !== undefined) throw obstacle;
  const group = VfioGroup.enter(native, facts, { domain: wanted, hugepages });
  const { domain } = group;
  const undo = [
    () => {
      group.release(address);
      group.close();
    },
  ];
  try {
    const opened = native.vfioDeviceOpen(domain.container, facts.group!, address);
    const device = step(facts, 'VFIO_GROUP_GET_DEVICE_FD', opened);
    undo.push(() => native.vfioDeviceClose(device));
    const transport = new VfioTransport(native, device, address, group);
    const common = { copybreak: 'measure', ...streaming, name: address, copyMany: native.copyBatch } as const;
    const dma = createHardwareDevice({ ...common, domain }, debug, () => new KernelLog(address));
    return { transport, dma };
  } catch (error) {
    for (const close of undo.reverse()) close();
    throw error;
  }
}
