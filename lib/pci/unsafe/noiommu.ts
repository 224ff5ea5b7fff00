/**
 * A function through VFIO without an IOMMU (drivers/vfio/group.c, vfio.enable_unsafe_noiommu_mode). VFIO gives
 * interrupts, resets and notifications as everywhere. It maps no memory, and the device reaches all of it.
 *
 *      container   /dev/vfio/vfio, VFIO_NOIOMMU_IOMMU    one for each function
 *        group     /dev/vfio/noiommu-N                   VFIO made it for this function alone
 *          device  VFIO_GROUP_GET_DEVICE_FD
 */
import { DmaError, errnoName } from '../../errors.ts';
import type { Addon, Handle } from '../../native/addon.ts';
import { VFIO_IOMMU } from '../../native/vfio.ts';
import { type FunctionFacts, holders } from '../facts.ts';
import { tooManyFiles } from '../vfio/diagnose.ts';
import { type GroupOfFunction, VfioTransport } from '../vfio/transport.ts';

/** @throws DmaError EACCES not root · EBUSY open already · ENODEV gone · EMFILE; nothing stays open then */
export function openNoIommu(native: Addon, facts: FunctionFacts): VfioTransport {
  const group = facts.noIommuGroup!;
  const node = `/dev/vfio/noiommu-${group}`;
  const step = (syscall: string, result: number): number => {
    if (result >= 0) return result;
    throw openError(facts, node, syscall, result);
  };
  const container = step('open /dev/vfio/vfio', native.vfioContainerOpen(VFIO_IOMMU.none));
  let device: Handle | undefined;
  try {
    step(`open ${node}`, native.vfioGroupOpen(container, group));
    step('VFIO_GROUP_SET_CONTAINER', native.vfioGroupAttach(container, group));
    step('VFIO_SET_IOMMU', native.vfioSetIommu(container));
    device = step('VFIO_GROUP_GET_DEVICE_FD', native.vfioDeviceOpen(container, group, facts.address));
    return new VfioTransport(native, device, facts.address, groupOf(native, container));
  } catch (error) {
    if (device !== undefined) native.vfioDeviceClose(device);
    native.vfioContainerClose(container);
    throw error;
  }
}

function groupOf(native: Addon, container: Handle): GroupOfFunction {
  return {
    translates: false,
    release: () => {},
    close: () => void native.vfioContainerClose(container),
    elsewhere: (id) => (native.vfioGroupHeld(id) === 1 ? undefined : `/dev/vfio/noiommu-${id}`),
  };
}

function openError(facts: FunctionFacts, node: string, syscall: string, errno: number): DmaError {
  const code = errnoName(errno);
  const fail = (reason: typeof code, what: string, remedy: string): DmaError =>
    new DmaError(reason, `${facts.address}: ${what}`, { syscall, remedy });
  switch (code) {
    case 'EACCES':
    case 'EPERM':
      return fail(
        'EACCES',
        `no permission to open it through VFIO without an IOMMU (${node})`,
        'run as root: the kernel wants CAP_SYS_RAWIO for it',
      );
    case 'EBUSY': {
      const held = holders(node);
      const who = held.length > 0 ? `: held by ${held.join(', ')}` : '';
      return fail(code, `it is open already (${node})${who}`, 'close it there first');
    }
    case 'EMFILE':
      return tooManyFiles(facts, syscall);
    case 'EOPNOTSUPP':
      return fail(
        code,
        'VFIO without an IOMMU is switched off',
        'as root: echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode',
      );
    case 'ENOENT':
      return fail('ENODEV', `${node} is missing`, 'bind the function to vfio-pci again');
    default:
      return fail(code, `${syscall} failed with ${code}`, 'the kernel log (dmesg) may say why');
  }
}
