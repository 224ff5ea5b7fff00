/**
 * Why a function cannot be opened through iommufd, with the fix. diagnose.ts covers the container, and the facts
 * of /sys.
 */
import { ownershipRemedy } from '../../device-node.ts';
import { DmaError, errnoName } from '../../errors.ts';
import { type FunctionFacts, holders, nodeOf } from '../facts.ts';
import { tooManyFiles } from './diagnose.ts';

const OR_CONTAINER = "; or open it with iommu: 'container'";

/** The kernel has no iommufd. */
export function noIommufd(syscall?: string): DmaError {
  return new DmaError('ENODEV', 'iommufd is not there: /dev/iommu cannot be opened', {
    syscall,
    remedy: `as root: modprobe iommufd (Linux 6.6 or newer with CONFIG_IOMMUFD)${OR_CONTAINER}`,
  });
}

/** The kernel has iommufd, but no node for the function itself. */
export function noNode({ address }: FunctionFacts): DmaError {
  return new DmaError('ENODEV', `${address} has no device node of its own in /dev/vfio/devices`, {
    remedy: `the kernel must be Linux 6.6 or newer with CONFIG_VFIO_DEVICE_CDEV${OR_CONTAINER}`,
  });
}

/** IOMMU_IOAS_ALLOC, or opening /dev/iommu before it, failed. @param passed whether the caller passed the iommufd in */
export function contextError(facts: FunctionFacts, errno: number, passed: boolean): DmaError {
  const { address } = facts;
  const code = errnoName(errno);
  if (passed) {
    return new DmaError(
      code === 'EBADF' || code === 'ENOTTY' ? 'EINVAL' : code,
      `${address}: the descriptor that was passed as iommufd cannot be used (${code})`,
      { syscall: 'IOMMU_IOAS_ALLOC', remedy: 'pass one of /dev/iommu, open for reading and writing' },
    );
  }
  switch (code) {
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
      return noIommufd('open /dev/iommu');
    case 'EACCES':
    case 'EPERM':
      return new DmaError('EACCES', `${address}: no permission to open /dev/iommu`, {
        syscall: 'open /dev/iommu',
        remedy: ownershipRemedy('/dev/iommu', 'KERNEL=="iommu"'),
      });
    case 'EMFILE':
      return tooManyFiles(facts, 'open /dev/iommu');
    default:
      return new DmaError(code, `${address}: iommufd has no address space to give (${code})`, {
        syscall: 'IOMMU_IOAS_ALLOC',
        remedy: 'the kernel log (dmesg) may say why',
      });
  }
}

/** Binding the device to the iommufd failed, or attaching it to a new address space. */
export function bindError(facts: FunctionFacts, errno: number, step: 'bind' | 'attach'): DmaError {
  const { address } = facts;
  const code = errnoName(errno);
  const syscall = step === 'bind' ? 'VFIO_DEVICE_BIND_IOMMUFD' : 'VFIO_DEVICE_ATTACH_IOMMUFD_PT';
  if (code === 'EBUSY') return groupInUse(facts, syscall);
  if (step === 'bind' && (code === 'EINVAL' || code === 'EPERM')) {
    const others = othersWithGroup(facts);
    if (others.length > 0) return deviceInUse(facts, others, syscall);
  }
  if (code === 'EPERM') {
    return new DmaError(code, `${address}: the IOMMU does not isolate interrupts (no interrupt remapping)`, {
      syscall,
      remedy:
        'switch on interrupt remapping (firmware setup; no intremap=off on the kernel command line) or, where the ' +
        'device is trusted, as root: echo 1 > /sys/module/iommufd/parameters/allow_unsafe_interrupts',
    });
  }
  if (code === 'ENOTTY') {
    return new DmaError('ENODEV', `${address}: this kernel is too old to open a function without its group`, {
      syscall,
      remedy: `use Linux 6.6 or newer with CONFIG_VFIO_DEVICE_CDEV${OR_CONTAINER}`,
    });
  }
  if (code === 'ENODEV') {
    return new DmaError(code, `${address} is gone`, { syscall, remedy: 'open it again when it is back' });
  }
  return new DmaError(code, `${address}: ${syscall} failed with ${code}`, {
    syscall,
    remedy:
      code === 'EINVAL'
        ? 'the function may be open already, by another descriptor, or its IOMMU does not keep caches coherent'
        : 'the kernel log (dmesg) may say why',
  });
}

/** Another program opened the group through the container, or a kernel driver has a function of the group. */
function groupInUse({ address, group }: FunctionFacts, syscall: string): DmaError {
  const held = holders(`/dev/vfio/${group}`);
  const who = held.length > 0 ? `: held by ${held.join(', ')}` : '';
  return new DmaError('EBUSY', `${address}: its IOMMU group ${group} (/dev/vfio/${group}) is in use${who}`, {
    syscall,
    remedy: 'a group is opened either as a whole or function by function: close the other opener first',
  });
}

function deviceInUse({ address }: FunctionFacts, others: readonly string[], syscall: string): DmaError {
  return new DmaError(
    'EBUSY',
    `${address}: it, or another function of its IOMMU group, is open: held by ${others.join(', ')}`,
    {
      syscall,
      remedy: 'a function is opened once, and all of a group by one program: close the other opener first',
    },
  );
}

/** Processes that hold a function of the group by its own node. */
function othersWithGroup({ members }: FunctionFacts): string[] {
  const nodes = members.flatMap(({ address }) => nodeOf(address) ?? []);
  return [...new Set(nodes.flatMap((node) => holders(node)))];
}
