/**
 * Why a function cannot be opened, with the fix. The files of /sys show most reasons before anything is opened
 * (`diagnose`). The other reasons are an errno of a step of opening (`openError`), which this file reads together
 * with those facts.
 */
import { ownershipRemedy } from '../../device-node.ts';
import { DmaError, errnoName } from '../../errors.ts';
import { noFunction } from '../absent.ts';
import { type FunctionFacts, type GroupMember, isVfioDriver } from '../facts.ts';

/** Steps of opening a function, by the node or ioctl that can fail. */
export type OpenStep =
  | 'open /dev/vfio/vfio'
  | 'open /dev/vfio/N'
  | 'VFIO_GROUP_GET_STATUS'
  | 'VFIO_GROUP_SET_CONTAINER'
  | 'VFIO_SET_IOMMU'
  | 'VFIO_GROUP_GET_DEVICE_FD';

/**
 * Drivers that do no DMA of their own, so that other functions of the group may be used (driver_managed_dma in
 * the kernel).
 */
const HARMLESS = new Set(['pcieport', 'pci-stub']);

/** The first obstacle to opening, or undefined if the files show none. */
export function diagnose(facts: FunctionFacts): DmaError | undefined {
  if (!facts.exists) return noFunction(facts, OR_SIMULATE);
  if (facts.group === undefined) return noGroup(facts);
  if (!isVfioDriver(facts.driver))
    return facts.driver === undefined ? unbound(facts) : taken(facts, facts.driver);
  if (!facts.vfio && !(facts.iommufd && facts.node !== undefined)) return noModule();
  return obstacles(facts).length > 0 ? notViable(facts) : undefined;
}

/**
 * The error of a step of opening that failed with `errno` (either sign).
 * @param held processes that hold the group node, as far as is known
 */
export function openError(
  facts: FunctionFacts,
  step: OpenStep,
  errno: number,
  held: readonly string[],
): DmaError {
  const code = errnoName(errno);
  const node = step === 'open /dev/vfio/vfio' ? '/dev/vfio/vfio' : `/dev/vfio/${facts.group}`;
  const about = { syscall: step.replace('/N', `/${facts.group}`) };
  if (code === 'EACCES' || (code === 'EPERM' && step.startsWith('open'))) {
    return new DmaError('EACCES', `${facts.address}: no permission to open ${node}`, {
      ...about,
      remedy: permissionRemedy(node),
    });
  }
  if (code === 'EMFILE') return tooManyFiles(facts, about.syscall);
  if (code === 'EBUSY') {
    const who = held.length > 0 ? `: held by ${held.join(', ')}` : '';
    return new DmaError(code, `${facts.address}: IOMMU group ${facts.group} (${node}) is in use${who}`, {
      ...about,
      remedy: held.includes('this process')
        ? 'another thread has it, or a function of it that is gone was not closed: close that there; a group is opened by one thread'
        : 'a group belongs to one opener at a time: close the other one first',
    });
  }
  if (code === 'EAGAIN') {
    return new DmaError(code, `${facts.address}: the kernel is about to reset it, or to take it away`, {
      ...about,
      remedy: 'try again',
    });
  }
  if (code === 'EOPNOTSUPP') return noType1(about.syscall);
  if (step === 'open /dev/vfio/vfio') return noModule(about.syscall);
  if (step === 'open /dev/vfio/N') return noNode(facts, node, about.syscall);
  if (step === 'VFIO_GROUP_GET_STATUS' || (step === 'VFIO_GROUP_SET_CONTAINER' && code === 'EPERM')) {
    return notViable(facts, about.syscall);
  }
  if (step === 'VFIO_SET_IOMMU' && code === 'EPERM') return unsafeInterrupts(facts, about.syscall);
  if (step === 'VFIO_SET_IOMMU' && code === 'ENODEV') return noType1(about.syscall);
  return new DmaError(code, `${facts.address}: ${about.syscall} failed with ${code}`, {
    ...about,
    remedy: 'the kernel log (dmesg) may say why',
  });
}

export function tooManyFiles({ address }: FunctionFacts, syscall: string): DmaError {
  return new DmaError('EMFILE', `${address}: this process has too many open files`, {
    syscall,
    remedy: 'close some, or raise the limit with ulimit -n',
  });
}

/** The group of a function cannot be added to an existing domain. @param errno either sign */
export function domainError({ address, group }: FunctionFacts, errno: number): DmaError {
  const code = errnoName(errno);
  return new DmaError(code, `${address}: its IOMMU group ${group} cannot be in that domain (${code})`, {
    syscall: 'VFIO_GROUP_SET_CONTAINER',
    remedy:
      "its IOMMU differs from the others', or reserves addresses that the domain has: open it first and the others " +
      'in its domain, or each in its own',
  });
}

/** Shell commands, for root, that give a function to vfio-pci. */
export function bindCommands(address: string, driver: string | undefined): string {
  const device = `/sys/bus/pci/devices/${address}`;
  return [
    'modprobe vfio-pci',
    `echo vfio-pci > ${device}/driver_override`,
    ...(driver === undefined ? [] : [`echo ${address} > ${device}/driver/unbind`]),
    `echo ${address} > /sys/bus/pci/drivers_probe`,
  ].join(' && ');
}

/** A hint for machines without this hardware: the same driver runs there in a simulation. */
const OR_SIMULATE = '; openPci(simulate(model)) needs none of this';

function noGroup({ address, iommu, noIommuGroup }: FunctionFacts): DmaError {
  if (iommu) {
    return new DmaError('ENODEV', `${address} is behind no IOMMU, although this machine runs one`, {
      remedy:
        'use a slot the IOMMU covers; dmesg | grep -i -e DMAR -e AMD-Vi -e smmu shows what it found' +
        OR_SIMULATE,
    });
  }
  const unsafe = noIommuGroup === undefined ? '' : '; openPciUnsafe opens it through VFIO without an IOMMU';
  return new DmaError('ENODEV', `${address} has no IOMMU group: the IOMMU is off`, {
    remedy:
      'switch it on in the firmware setup (Intel VT-d, AMD-Vi, or SMMU) and, on Intel, boot with intel_iommu=on ' +
      'on the kernel command line (amd_iommu=off must not be there)' +
      unsafe +
      OR_SIMULATE,
  });
}

function taken({ address }: FunctionFacts, driver: string): DmaError {
  return new DmaError('EBUSY', `${address} is bound to the driver ${driver}, not to vfio-pci`, {
    remedy: `if nothing on this machine needs it, as root: ${bindCommands(address, driver)}`,
  });
}

function unbound({ address }: FunctionFacts): DmaError {
  return new DmaError('ENODEV', `${address} is bound to no driver`, {
    remedy: `as root: ${bindCommands(address, undefined)}`,
  });
}

function noModule(syscall?: string): DmaError {
  return new DmaError('ENODEV', 'VFIO is not there: /dev/vfio/vfio cannot be opened', {
    syscall,
    remedy: `as root: modprobe vfio-pci (the kernel needs CONFIG_VFIO and CONFIG_VFIO_PCI)${OR_SIMULATE}`,
  });
}

function noType1(syscall: string): DmaError {
  return new DmaError('ENODEV', 'the kernel offers no type1v2 IOMMU to VFIO', {
    syscall,
    remedy: 'as root: modprobe vfio_iommu_type1 (the kernel needs CONFIG_VFIO_IOMMU_TYPE1)',
  });
}

function noNode({ address }: FunctionFacts, node: string, syscall: string): DmaError {
  return new DmaError('ENODEV', `${address}: the node ${node} of its IOMMU group is missing`, {
    syscall,
    remedy: `in a container, pass --device=${node} --device=/dev/vfio/vfio`,
  });
}

function notViable(facts: FunctionFacts, syscall?: string): DmaError {
  const others = obstacles(facts);
  const named =
    others.length > 0
      ? others.map((m) => `${m.address} (${m.driver})`).join(', ')
      : 'a function the kernel does not name';
  const commands = others.map((m) => bindCommands(m.address, m.driver)).join(' && ');
  return new DmaError(
    'EPERM',
    `${facts.address}: IOMMU group ${facts.group} is not viable, because the kernel still drives ${named} in it`,
    {
      syscall,
      remedy: `give ${others.length > 1 ? 'those' : 'that one'} to VFIO too${commands && `, as root: ${commands}`}`,
    },
  );
}

function unsafeInterrupts({ address }: FunctionFacts, syscall: string): DmaError {
  return new DmaError('EPERM', `${address}: the IOMMU does not isolate interrupts (no interrupt remapping)`, {
    syscall,
    remedy:
      'switch on interrupt remapping (firmware setup; no intremap=off on the kernel command line) or, where the ' +
      'device is trusted, as root: echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts',
  });
}

/** Members of the group that a kernel driver uses for itself. */
function obstacles({ members }: FunctionFacts): GroupMember[] {
  return members.filter(
    ({ driver }) => driver !== undefined && !isVfioDriver(driver) && !HARMLESS.has(driver),
  );
}

function permissionRemedy(node: string): string {
  if (node === '/dev/vfio/vfio')
    return `as root: chmod 0666 ${node} (its usual mode; every user may open it)`;
  return ownershipRemedy(node, 'SUBSYSTEM=="vfio"');
}
