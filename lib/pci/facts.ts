/**
 * Facts about a PCI function, as Linux tells them in /sys, /dev and /proc. Reading them does not touch the
 * hardware. This file does not judge the facts: vfio/diagnose.ts and unsafe/obstacles.ts turn them into an error
 * with a remedy. `root` is a prefix for every absolute path, so that a recorded tree can stand for a machine.
 */
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { linkTarget, listFolder, readText } from '../files.ts';
import { parseAddress } from './address.ts';

export interface GroupMember {
  readonly address: string;
  readonly driver: string | undefined;
}

export interface FunctionFacts {
  /** The address in the kernel's spelling: `domain:bus:device.function` in lower case. */
  readonly address: string;
  readonly exists: boolean;
  /** True if /sys is there and has the PCI bus. */
  readonly sysfs: boolean;
  /** The driver that is bound to it, e.g. `vfio-pci`. */
  readonly driver: string | undefined;
  /** The number of its IOMMU group, which is also the name of the group's node in /dev/vfio. */
  readonly group: number | undefined;
  /**
   * The number of the group that VFIO made for it because no IOMMU is there: its node is /dev/vfio/noiommu-N, and
   * `group` is undefined.
   */
  readonly noIommuGroup: number | undefined;
  /** All functions of the group, this one included, by address. */
  readonly members: readonly GroupMember[];
  /**
   * Functions that the caller may have meant: the address differs in one character, or the function is bound to a
   * VFIO driver.
   */
  readonly similar: readonly string[];
  /** True if the kernel runs an IOMMU, for this function or for another one. */
  readonly iommu: boolean;
  /** True if /dev/vfio/vfio exists. */
  readonly vfio: boolean;
  /** True if /dev/iommu exists. */
  readonly iommufd: boolean;
  /** The NUMA node nearest to it; -1 if the kernel does not know. */
  readonly numaNode: number;
  /** The address of the physical function, if this one is a virtual function (SR-IOV). */
  readonly physicalFunction: string | undefined;
  /** The driver of the physical function. */
  readonly physicalDriver: string | undefined;
  /** True if it can have virtual functions. */
  readonly hasVirtualFunctions: boolean;
  /** The node of the function itself, /dev/vfio/devices/vfioN; undefined if the kernel only has nodes of groups. */
  readonly node: string | undefined;
}

/** The directory with an entry for each function of the machine. */
export const DEVICES = '/sys/bus/pci/devices';

/** Facts about a function. @throws DmaError EINVAL malformed address */
export function readFacts(text: string, root = ''): FunctionFacts {
  const address = parseAddress(text);
  const functions = listFolder(root + DEVICES);
  const number = groupOf(address, root);
  const isMadeByVfio = number !== undefined && withoutIommu(number, root);
  const group = isMadeByVfio ? undefined : number;
  const physicalFunction = linkName(`${root}${DEVICES}/${address}/physfn`);
  return {
    address,
    exists: functions.includes(address),
    sysfs: existsSync(`${root}/sys/bus/pci`),
    driver: driverOf(address, root),
    group,
    noIommuGroup: isMadeByVfio ? number : undefined,
    members: group === undefined ? [] : groupMembers(group, root),
    // A getter, because it reads a link of every function of the machine and only error messages need it.
    get similar() {
      return functions.filter((other) => oneApart(other, address) || isVfioDriver(driverOf(other, root)));
    },
    iommu: listFolder(`${root}/sys/class/iommu`).length > 0 || iommuGroups(root).length > 0,
    vfio: existsSync(`${root}/dev/vfio/vfio`),
    iommufd: existsSync(`${root}/dev/iommu`),
    numaNode: Number(readText(`${root}${DEVICES}/${address}/numa_node`)?.trim() || -1),
    physicalFunction,
    physicalDriver: physicalFunction === undefined ? undefined : driverOf(physicalFunction, root),
    hasVirtualFunctions: existsSync(`${root}${DEVICES}/${address}/sriov_totalvfs`),
    node: nodeOf(address, root),
  };
}

/** True if the driver hands its functions to user space: vfio-pci and its variants (mlx5-vfio-pci, ...). */
export function isVfioDriver(driver: string | undefined): boolean {
  return driver !== undefined && /(^|[-_])vfio([-_]|$)/.test(driver);
}

/** Processes that hold a node open, e.g. `node (pid 42)`. Processes that this one may not look at are missing. */
export function holders(node: string, root = ''): string[] {
  return listFolder(`${root}/proc`)
    .filter((pid) => /^\d+$/.test(pid) && holds(`${root}/proc/${pid}`, node))
    .map((pid) => (Number(pid) === process.pid ? 'this process' : `${commandOf(pid, root)} (pid ${pid})`));
}

/** The node through which a function is opened without its group, in kernels that have such nodes. */
export function nodeOf(address: string, root = ''): string | undefined {
  const folder = `${root}${DEVICES}/${address}/vfio-dev`;
  const name = listFolder(folder)[0];
  // Without CONFIG_VFIO_DEVICE_CDEV the kernel has the folder, and no number of a node in it.
  const exists = name !== undefined && existsSync(`${folder}/${name}/dev`);
  return exists ? `/dev/vfio/devices/${name}` : undefined;
}

/** The numbers of the groups that an IOMMU has. */
export function iommuGroups(root = ''): number[] {
  return listFolder(`${root}/sys/kernel/iommu_groups`)
    .map(Number)
    .filter((number) => !withoutIommu(number, root));
}

/** VFIO makes such groups when `vfio.enable_unsafe_noiommu_mode` is set (drivers/vfio/group.c). */
function withoutIommu(group: number, root: string): boolean {
  return readText(`${root}/sys/kernel/iommu_groups/${group}/name`)?.trim() === 'vfio-noiommu';
}

function groupMembers(group: number, root: string): GroupMember[] {
  return listFolder(`${root}/sys/kernel/iommu_groups/${group}/devices`).map((address) => ({
    address,
    driver: driverOf(address, root),
  }));
}

function groupOf(address: string, root: string): number | undefined {
  const name = linkName(`${root}${DEVICES}/${address}/iommu_group`);
  return name !== undefined && /^\d+$/.test(name) ? Number(name) : undefined;
}

/** The driver that a function is bound to. */
export function driverOf(address: string, root = ''): string | undefined {
  return linkName(`${root}${DEVICES}/${address}/driver`);
}

/** True if the two have the same length and differ in exactly one character, as after a typing error. */
function oneApart(a: string, b: string): boolean {
  return a.length === b.length && [...a].filter((char, i) => char !== b[i]).length === 1;
}

function holds(folder: string, node: string): boolean {
  return listFolder(`${folder}/fd`).some((fd) => linkTarget(`${folder}/fd/${fd}`) === node);
}

function commandOf(pid: string, root: string): string {
  return readText(`${root}/proc/${pid}/comm`)?.trim() ?? 'a process';
}

function linkName(path: string): string | undefined {
  const link = linkTarget(path);
  return link === undefined ? undefined : basename(link);
}
