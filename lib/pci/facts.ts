/**
 * Facts about a PCI function, as Linux tells them in /sys, /dev and /proc. Reading them does not touch the hardware.
 * Nothing here judges: vfio/diagnose.ts and unsafe/obstacles.ts turn facts into an error with a remedy. `root` is a
 * prefix put before every absolute path, so that a recorded tree can stand for a machine.
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
  /** Normalised: `domain:bus:device.function` in lower case. */
  readonly address: string;
  readonly exists: boolean;
  /** Driver bound to it, e.g. `vfio-pci`. */
  readonly driver: string | undefined;
  /** Number of its IOMMU group, which is the name of its node in /dev/vfio. */
  readonly group: number | undefined;
  /** All functions of the group, itself included, by address. */
  readonly members: readonly GroupMember[];
  /** Functions a mistyped address may have meant: one character off, or bound to a VFIO driver. */
  readonly similar: readonly string[];
  /** Whether the kernel runs any IOMMU. */
  readonly iommu: boolean;
  /** Whether /dev/vfio/vfio is there. */
  readonly vfio: boolean;
  /** Whether /dev/iommu is there. */
  readonly iommufd: boolean;
  /** The node of the function itself, /dev/vfio/devices/vfioN; undefined where the kernel only has nodes of groups. */
  readonly node: string | undefined;
}

/** A folder for each function of the machine. */
export const DEVICES = '/sys/bus/pci/devices';

/** Facts about a function. @throws DmaError EINVAL malformed address */
export function readFacts(text: string, root = ''): FunctionFacts {
  const address = parseAddress(text);
  const functions = listFolder(root + DEVICES);
  const group = groupOf(address, root);
  return {
    address,
    exists: functions.includes(address),
    driver: driverOf(address, root),
    group,
    members: group === undefined ? [] : groupMembers(group, root),
    // A getter, because it reads a link of every function of the machine and only error messages need it.
    get similar() {
      return functions.filter((other) => oneApart(other, address) || isVfioDriver(driverOf(other, root)));
    },
    iommu:
      listFolder(`${root}/sys/class/iommu`).length > 0 ||
      listFolder(`${root}/sys/kernel/iommu_groups`).length > 0,
    vfio: existsSync(`${root}/dev/vfio/vfio`),
    iommufd: existsSync(`${root}/dev/iommu`),
    node: nodeOf(address, root),
  };
}

/** Whether a driver hands its functions to user space: vfio-pci and its variants (mlx5-vfio-pci, ...). */
export function isVfioDriver(driver: string | undefined): boolean {
  return driver !== undefined && /(^|[-_])vfio([-_]|$)/.test(driver);
}

/** Processes that hold a node open, as far as this one may look: `node (pid 42)`. */
export function holders(node: string, root = ''): string[] {
  return listFolder(`${root}/proc`)
    .filter((pid) => /^\d+$/.test(pid) && holds(`${root}/proc/${pid}`, node))
    .map((pid) => (Number(pid) === process.pid ? 'this process' : `${commandOf(pid, root)} (pid ${pid})`));
}

/** The node through which a function is opened without its group. */
export function nodeOf(address: string, root = ''): string | undefined {
  const name = listFolder(`${root}${DEVICES}/${address}/vfio-dev`)[0];
  return name === undefined ? undefined : `/dev/vfio/devices/${name}`;
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

/** Same length and different in exactly one place: a slip of the finger. */
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
