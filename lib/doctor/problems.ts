/** The problems that keep a device or this library from working on a machine. Each has its solution. */
import { ownershipRemedy } from '../device-node.ts';
import { whyNoAddon } from '../native/processor.ts';
import { whichElse } from '../pci/absent.ts';
import { type FunctionFacts, isVfioDriver } from '../pci/facts.ts';
import type { IommuInterface } from '../pci/transport.ts';
import type { Machine, NodeState } from './machine.ts';

/** One thing that keeps something from working, and the command that ends it. */
export interface Problem {
  /** A word for programs, e.g. `iommu-off`. */
  readonly id: string;
  readonly what: string;
  /** A shell command that solves it, for root if `asRoot` is set. Absent if no command can solve it. */
  readonly command?: string;
  readonly asRoot?: boolean;
  /** Advice if there is no command, or in addition to it. */
  readonly advice?: string;
}

/** The wishes of the caller, in addition to opening a device. */
export interface Needs {
  /** Bytes of memory that the caller wants to map for devices. */
  readonly memory: number;
  /** Huge pages of the default size. */
  readonly hugePages: number;
}

/**
 * Drivers that do no DMA of their own, so that other functions of the group may be used (driver_managed_dma in the
 * kernel).
 */
const HARMLESS = new Set(['pcieport', 'pci-stub']);

/** The problems of the machine. On other systems than Linux there are none, because nothing of Linux applies. */
export function machineProblems(machine: Machine, needs: Needs): Problem[] {
  if (machine.platform !== 'linux') return [];
  return [...addonProblems(machine), ...kernelProblems(machine), ...memoryProblems(machine, needs)];
}

function addonProblems({ addon, addonFile, arch }: Machine): Problem[] {
  if (addon === undefined) return [];
  const what = addon.split(';', 1)[0]!;
  if (whyNoAddon('linux', arch) !== undefined) return [{ id: 'addon', what, advice: 'use the simulation' }];
  if (addonFile === undefined) return [{ id: 'addon', what, command: 'npx userdma build' }];
  const advice = 'the addon of the package is used then';
  return [{ id: 'addon', what, command: 'unset USERDMA_ADDON', advice }];
}

function kernelProblems(machine: Machine): Problem[] {
  const { confined, sysfs } = machine;
  if (!sysfs) return [{ id: 'no-sysfs', what: '/sys is not there', advice: 'run it where /sys is mounted' }];
  if (confined === 'WSL') {
    return [
      {
        id: 'wsl',
        what: 'WSL gives its Linux no devices by VFIO',
        advice: 'use the simulation, or Linux itself',
      },
    ];
  }
  if (machine.iommus.length === 0 && machine.groups === 0) return [iommuOff(machine)];
  const { vfio, iommufd } = machine.nodes;
  if (vfio === 'absent' && iommufd === 'absent') return [noVfio(machine)];
  if (iommufd === 'usable' && machine.vfioDevices.length > 0) return [];
  if (vfio === 'forbidden') return [forbidden('/dev/vfio/vfio', 'chmod 0666 /dev/vfio/vfio')];
  if (vfio === 'absent' && iommufd === 'forbidden') return [forbidden('/dev/iommu', giveAway('/dev/iommu'))];
  if (confined === 'container') return [];
  if (!machine.vfioPciLoaded) return [noVfio(machine)];
  return vfio === 'absent' || machine.type1Loaded ? [] : [noType1()];
}

/** A node that this user may not open. @param name what it is the node of */
function forbidden(node: string, command: string, name?: string): Problem {
  const what = `this user may not open ${node}${name === undefined ? '' : `, the node of ${name}`}`;
  return { id: 'node', what, command, asRoot: true };
}

/** The command that makes this user the owner of a node. */
function giveAway(node: string): string {
  return /as root: (chown \S+ \S+),/.exec(ownershipRemedy(node, ''))?.[1] ?? `chmod 0666 ${node}`;
}

function iommuOff({ arch, commandLine = '', confined }: Machine): Problem {
  const off = /\b(?:intel_iommu|amd_iommu|iommu)=off\b/.exec(commandLine)?.[0];
  const word = arch === 'x64' ? 'intel_iommu=on' : 'iommu.passthrough=0';
  if (confined === 'container') {
    const advice = `the host of the container needs it: firmware setup, and ${word} on the kernel command line`;
    return { id: 'iommu-off', what: 'the IOMMU is off, or this container does not see it', advice };
  }
  return {
    id: 'iommu-off',
    what: off === undefined ? 'the IOMMU is off' : `the IOMMU is off: the kernel was booted with ${off}`,
    command:
      off === undefined
        ? `sed -i 's/^GRUB_CMDLINE_LINUX="/&${word} /' /etc/default/grub && update-grub && reboot`
        : `sed -i 's/\\b${off}\\b/${off.startsWith('amd') ? '' : word}/' /etc/default/grub && update-grub && reboot`,
    asRoot: true,
    advice: `switch it on in the firmware setup too (Intel VT-d, AMD-Vi or SMMU); without GRUB, boot with ${word}`,
  };
}

function noVfio({ confined }: Machine): Problem {
  if (confined === 'container') {
    const advice =
      'start the container with --device=/dev/vfio/vfio and --device=/dev/vfio/N of the IOMMU group';
    return { id: 'no-vfio', what: 'VFIO is not in this container', advice };
  }
  return {
    id: 'no-vfio',
    what: 'the module vfio-pci is not loaded',
    command: 'modprobe vfio-pci',
    asRoot: true,
  };
}

/** modprobe of kmod loads it with vfio-pci. The one of busybox does not. */
function noType1(): Problem {
  const what = 'the module vfio_iommu_type1 is not loaded, without which VFIO maps no memory';
  return { id: 'no-type1', what, command: 'modprobe vfio_iommu_type1', asRoot: true };
}

function memoryProblems({ memlock, hugePages, root }: Machine, needs: Needs): Problem[] {
  const problems: Problem[] = [];
  if (memlock !== undefined && memlock.locked + needs.memory > memlock.limit) {
    const limit = `${memlock.limit / 1024} KiB`;
    problems.push({
      id: 'memlock',
      what: `this process may lock ${limit} of memory, and ${needs.memory / 1024} KiB are wanted (RLIMIT_MEMLOCK)`,
      command: `prlimit --pid $$ --memlock=${memlock.locked + needs.memory}`,
      asRoot: !root,
      advice:
        'that is for this shell; for good: a line in /etc/security/limits.conf, or LimitMEMLOCK= of the unit',
    });
  }
  const pool = hugePages[0];
  if (needs.hugePages > 0 && (pool?.free ?? 0) < needs.hugePages) {
    const total = (pool?.reserved ?? 0) - (pool?.free ?? 0) + needs.hugePages;
    problems.push({
      id: 'huge-pages',
      what: `${needs.hugePages} huge pages are wanted, and ${pool?.free ?? 0} are free`,
      command: `sysctl vm.nr_hugepages=${total}`,
      asRoot: true,
    });
  }
  return problems;
}

/** The problems of one function, on a machine without problems. */
export function functionProblems(facts: FunctionFacts, machine: Machine): Problem[] {
  const { address, driver, group, members } = facts;
  if (!facts.exists) {
    const what = `there is no PCI function at ${address}`;
    return [{ id: 'absent', what, advice: whichElse(facts.similar) }];
  }
  if (group === undefined) {
    if (!facts.iommu) return []; // machineProblems reports this
    const advice =
      'use a slot that an IOMMU covers; the kernel log shows what it found (dmesg | grep -i -e DMAR -e AMD-Vi)';
    return [{ id: 'no-group', what: `${address} is behind no IOMMU`, advice }];
  }
  if (!isVfioDriver(driver)) {
    const what = driver === undefined ? 'bound to no driver' : `bound to ${driver}, and not to vfio-pci`;
    return [
      { id: 'driver', what: `${address} is ${what}`, command: `npx userdma bind ${address}`, asRoot: true },
    ];
  }
  const others = members.filter(
    (m) => m.driver !== undefined && !isVfioDriver(m.driver) && !HARMLESS.has(m.driver),
  );
  if (others.length > 0) {
    const named = others.map((member) => `${member.address} (${member.driver})`).join(', ');
    return [
      {
        id: 'not-viable',
        what: `IOMMU group ${group} of ${address} is not viable: the kernel drives ${named} in it`,
        command: `npx userdma bind ${others.map((member) => member.address).join(' ')}`,
        asRoot: true,
      },
    ];
  }
  if (interfaceOf(facts, machine) !== undefined) return [];
  const path = machine.nodes.vfio === 'absent' ? facts.node : `/dev/vfio/${group}`;
  if (path === undefined || stateOf(path, machine) !== 'forbidden') return [];
  const advice = `for good: npx userdma bind ${address} --user NAME --persist`;
  return [{ ...forbidden(path, giveAway(path), address), advice }];
}

/** The interface that `openPci` would choose: the first of the two whose nodes this user may open. */
export function interfaceOf(facts: FunctionFacts | undefined, machine: Machine): IommuInterface | undefined {
  if (facts?.group === undefined) return undefined;
  const { vfio, iommufd } = machine.nodes;
  const usable = (path: string | undefined) => path !== undefined && stateOf(path, machine) === 'usable';
  if (iommufd === 'usable' && usable(facts.node)) return 'iommufd';
  return vfio === 'usable' && usable(`/dev/vfio/${facts.group}`) ? 'container' : undefined;
}

function stateOf(path: string, { vfioGroups, vfioDevices }: Machine): NodeState | undefined {
  const groups = vfioGroups.map(({ group, state }) => ({ node: `/dev/vfio/${group}`, state }));
  return [...groups, ...vfioDevices].find(({ node }) => node === path)?.state;
}
