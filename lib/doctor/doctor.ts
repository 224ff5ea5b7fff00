/** The state of a machine for this library: its parts, its problems, and the ways that work now. */
import { checkOptions, checkText, whole } from '../arguments.ts';
import { nearestNode } from '../memory/numa.ts';
import { parseAddress } from '../pci/address.ts';
import { readFacts } from '../pci/facts.ts';
import type { IommuInterface } from '../pci/transport.ts';
import { type Machine, readMachine } from './machine.ts';
import { functionProblems, interfaceOf, machineProblems, type Needs, type Problem } from './problems.ts';

/** What the program needs, and where to look. */
export interface DoctorOptions extends Partial<Needs> {
  /** The function that the caller wants to open. */
  readonly address?: string;
  /** Prefix of /sys, /dev and /proc, so that a recorded tree can stand for a machine. */
  readonly root?: string;
}

/** How a function would be opened. */
export interface Opening {
  /** The interface that gives its device an address space. */
  readonly iommu: IommuInterface;
  /** The NUMA node of its memory, on a machine with several. */
  readonly numaNode?: number;
}

/** What `diagnoseMachine` and `diagnosePci` found. */
export interface Diagnosis {
  readonly machine: Machine;
  /** The problems, in the order in which they should be solved. */
  readonly problems: readonly Problem[];
  /** How `openPci` would open the function that was asked for; undefined if it cannot. */
  readonly opening?: Opening;
  /** The ways that would work now: real devices by VFIO, boards by UIO and u-dma-buf, the simulation. */
  readonly ways: Readonly<Record<'vfio' | 'uio' | 'u-dma-buf' | 'simulation', boolean>>;
}

/** The memory that a small driver locks: 8 MiB of buffers and the bounce buffer. */
const MEMORY = 8 * 2 ** 20;

/** @throws DmaError EINVAL malformed address */
export function diagnoseMachine(options: DoctorOptions = {}): Diagnosis {
  checkOptions<DoctorOptions>(options, 'diagnoseMachine', {
    address: checkText,
    root: checkText,
    memory: whole(0, Number.MAX_SAFE_INTEGER),
    hugePages: whole(0, Number.MAX_SAFE_INTEGER),
  });
  const { address, root = '', ...needs } = options;
  if (address !== undefined) parseAddress(address);
  const machine = readMachine(root);
  const general = machineProblems(machine, {
    memory: needs.memory ?? MEMORY,
    hugePages: needs.hugePages ?? 0,
  });
  const facts = address === undefined || !machine.sysfs ? undefined : readFacts(address, root);
  const problems = [...general, ...(facts === undefined ? [] : functionProblems(facts, machine))];
  const usable = machine.platform === 'linux' && machine.addon === undefined;
  const openable = [machine.nodes.vfio, machine.nodes.iommufd].includes('usable');
  const nodes = [...machine.vfioGroups, ...machine.vfioDevices].some(({ state }) => state === 'usable');
  const iommu = problems.length > 0 ? undefined : interfaceOf(facts, machine);
  const node = facts === undefined ? undefined : nearestNode(facts.numaNode, root);
  return {
    machine,
    problems,
    ...(iommu !== undefined && { opening: { iommu, ...(node !== undefined && { numaNode: node }) } }),
    ways: {
      vfio: usable && openable && machine.groups > 0 && (facts === undefined ? nodes : problems.length === 0),
      uio: usable && machine.uio.length > 0,
      'u-dma-buf': usable && machine.uDmaBufs.length > 0,
      simulation: true,
    },
  };
}
