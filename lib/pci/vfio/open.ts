/**
 * Opening a function through VFIO:
 *
 *      facts of /sys     obstacles, before anything is touched (diagnose.ts)
 *      group, domain     the address space that its device will see (group.ts, domain.ts)
 *      device            opened by the domain (iommufd.ts, container.ts)
 *
 * The transport owns the device, and the devices own the domain. The caller may close either of them first: the
 * device is stopped, or the mappings are gone, before the other one ends.
 */
import { createHardwareDevice } from '../../debug/create.ts';
import { DmaError } from '../../errors.ts';
import type { MemfdMemoryOptions } from '../../memory/memfd.ts';
import { nearestNode } from '../../memory/numa.ts';
import type { Addon } from '../../native/addon.ts';
import { loadAddon } from '../../native/load.ts';
import { parseAddress } from '../address.ts';
import { readFacts } from '../facts.ts';
import {
  type IommuInterface,
  isDescriptor,
  type OpenedFunction,
  type OpenOptions,
  type PciDescriptor,
} from '../transport.ts';
import { ContainerDomain } from './container.ts';
import { addressOf } from './descriptor.ts';
import { diagnose } from './diagnose.ts';
import type { VfioDomain } from './domain.ts';
import { VfioGroup } from './group.ts';
import { IommufdDomain, type IommufdTarget } from './iommufd.ts';
import { KernelLog } from './kernel-log.ts';
import { VfioTransport } from './transport.ts';

/**
 * Opens a function. At first bus mastering is off and no interrupt is armed.
 * @param target PCI address of a function that is bound to vfio-pci, or its open node
 * @throws DmaError as `openPci`; nothing stays open then
 */
export function openVfio(
  target: string | PciDescriptor,
  { hugepages = false, streaming, debug, domain: wanted, iommu, vfToken, numaNode }: OpenOptions = {},
): OpenedFunction {
  const passed = isDescriptor(target) ? { descriptor: target.fd, iommufd: target.iommufd } : {};
  const address = isDescriptor(target) ? addressOf(target) : parseAddress(target);
  const native = loadAddon();
  const facts = readFacts(address);
  const obstacle = diagnose(facts);
  if (obstacle !== undefined) throw obstacle;
  const opening: IommufdTarget = { facts, vfToken, ...passed };
  const wish = { domain: wanted, hugepages, iommu, numaNode };
  const node = numaNode ?? nearestNode(facts.numaNode);
  const memory = { hugepages, ...(node === undefined ? {} : { numaNode: node }) };
  const { group, device } = VfioGroup.enter(opening, wish, () => newDomain(native, opening, memory, iommu));
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

/**
 * The one place that chooses how a function's device gets an address space. If the caller leaves the choice open, it
 * is the first that works: iommufd, or else the container. A function whose group is in use is so for both.
 */
function newDomain(
  native: Addon,
  target: IommufdTarget,
  memory: MemfdMemoryOptions,
  iommu: IommuInterface | undefined,
): VfioDomain {
  const { facts, descriptor } = target;
  const container = (): VfioDomain => ContainerDomain.create(native, facts, memory);
  const iommufd = (): VfioDomain => IommufdDomain.create(native, target, memory);
  if (iommu === 'iommufd' || descriptor !== undefined) return iommufd();
  if (iommu === 'container' || !facts.iommufd || facts.node === undefined) return container();
  try {
    return iommufd();
  } catch (error) {
    if (!(error instanceof DmaError) || error.code === 'EBUSY' || !facts.vfio) throw error;
    return container();
  }
}
