/**
 * Opening a function through VFIO:
 *
 *      facts of /sys     what stands in the way, before anything is touched (diagnose.ts)
 *      group, domain     whose address space its device will see (group.ts, domain.ts)
 *      device            opened by the domain (container.ts)
 *
 * The device belongs to the transport, the domain to the devices in it. Either may be closed first: the device is
 * stopped, or the mappings are gone, before the other one ends.
 */
import { createHardwareDevice } from '../../debug/create.ts';
import { loadAddon } from '../../native/load.ts';
import { parseAddress } from '../address.ts';
import { readFacts } from '../facts.ts';
import type { OpenedFunction, OpenOptions } from '../transport.ts';
import { ContainerDomain } from './container.ts';
import { diagnose } from './diagnose.ts';
import { VfioGroup } from './group.ts';
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
  const wish = { domain: wanted, hugepages };
  const { group, device } = VfioGroup.enter(facts, wish, () =>
    ContainerDomain.create(native, facts, hugepages),
  );
  let transport: VfioTransport | undefined;
  try {
    transport = new VfioTransport(native, device, address, group);
    const { domain } = group;
    const common = { copybreak: 'measure', ...streaming, name: address, copyMany: native.copyBatch } as const;
    const dma = createHardwareDevice({ ...common, domain }, debug, () => new KernelLog(address));
    return { transport, dma };
  } catch (error) {
    if (transport === undefined) {
      native.vfioDeviceClose(device);
      group.release(address);
      group.close();
    } else {
      transport.close();
    }
    throw error;
  }
}
