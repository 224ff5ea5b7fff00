/**
 * The parts of this machine that matter for DMA from user space. Reading them touches no device. This file does not
 * judge them.
 */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { listFolder, readText } from '../files.ts';
import { type Memlock, readMemlock } from '../iommu/memlock.ts';
import { memoryNodes } from '../memory/numa.ts';
import { loadAddon } from '../native/load.ts';
import { iommuGroups } from '../pci/facts.ts';

/** A node of /dev: it does not exist, this user may not open it, or this user may open it. */
export type NodeState = 'absent' | 'forbidden' | 'usable';

export interface HugePagePool {
  /** Bytes of a page. */
  readonly pageSize: number;
  readonly reserved: number;
  readonly free: number;
}

/** The facts of a machine that matter for DMA from a program. */
export interface Machine {
  /** The value of process.platform. */
  readonly platform: NodeJS.Platform;
  readonly arch: string;
  readonly node: string;
  /** `bun 1.2.3` or `deno 2.4.5`, if it is not Node.js. */
  readonly runtime: string;
  readonly kernel: string;
  readonly commandLine: string | undefined;
  /** `glibc 2.36` or `musl`; undefined if it is not known. */
  readonly libc: string | undefined;
  /** What confines this process, if anything: a container, or WSL. */
  readonly confined: 'container' | 'WSL' | undefined;
  readonly root: boolean;
  /** True if /sys of Linux exists. */
  readonly sysfs: boolean;
  /** Units as the kernel names them: `dmar0`, `ivhd0`, `smmu3.0x...`; none if the IOMMU is off. */
  readonly iommus: readonly string[];
  readonly groups: number;
  /** `none`, `integrity` or `confidentiality`; undefined without the lockdown module. */
  readonly lockdown: string | undefined;
  readonly secureBoot: boolean | undefined;
  readonly nodes: {
    readonly vfio: NodeState;
    readonly iommufd: NodeState;
    readonly udmabuf: NodeState;
  };
  /** The nodes of functions for iommufd: `/dev/vfio/devices/vfioN`. */
  readonly vfioDevices: readonly { readonly node: string; readonly state: NodeState }[];
  /** IOMMU groups that have a node: `/dev/vfio/N`. */
  readonly vfioGroups: readonly { readonly group: number; readonly state: NodeState }[];
  readonly vfioPciLoaded: boolean;
  /** True if VFIO has the driver that maps memory for a container (vfio_iommu_type1). */
  readonly type1Loaded: boolean;
  readonly dmaHeaps: readonly string[];
  readonly uDmaBufs: readonly string[];
  readonly uio: readonly string[];
  /** The NUMA nodes that have memory; none if the kernel does not know nodes. */
  readonly numaNodes: readonly number[];
  /** Functions that VFIO hands out without an IOMMU: the numbers of their groups, /dev/vfio/noiommu-N. */
  readonly noIommuGroups: readonly number[];
  /** Bytes that are locked, and bytes that may be locked. */
  readonly memlock: Memlock | undefined;
  /** The pool of the default size comes first. */
  readonly hugePages: readonly HugePagePool[];
  /** Bytes of a page; undefined without the addon. */
  readonly pageSize: number | undefined;
  /** The reason why the addon does not load; undefined if it loads. */
  readonly addon: string | undefined;
  /** The file that USERDMA_ADDON names, if it is set. */
  readonly addonFile: string | undefined;
}

/** @param root prefix of /sys, /dev and /proc */
export function readMachine(root = ''): Machine {
  const addon = tryAddon();
  return {
    platform: process.platform,
    arch: process.arch,
    node: process.versions.node,
    runtime: runtimeName(),
    kernel: readText(`${root}/proc/sys/kernel/osrelease`)?.trim() ?? release(),
    commandLine: readText(`${root}/proc/cmdline`)?.trim(),
    libc: libcName(),
    confined: confinement(root),
    root: process.getuid?.() === 0,
    sysfs: existsSync(`${root}/sys/bus`),
    iommus: listFolder(`${root}/sys/class/iommu`),
    groups: iommuGroups(root).length,
    lockdown: /\[(\w+)\]/.exec(readText(`${root}/sys/kernel/security/lockdown`) ?? '')?.[1],
    secureBoot: secureBoot(root),
    nodes: {
      vfio: nodeState(`${root}/dev/vfio/vfio`),
      iommufd: nodeState(`${root}/dev/iommu`),
      udmabuf: nodeState(`${root}/dev/udmabuf`),
    },
    vfioDevices: listFolder(`${root}/dev/vfio/devices`)
      .map((name) => `/dev/vfio/devices/${name}`)
      .map((node) => ({ node, state: nodeState(root + node) })),
    vfioGroups: listFolder(`${root}/dev/vfio`)
      .filter((name) => /^\d+$/.test(name))
      .map((name) => ({ group: Number(name), state: nodeState(`${root}/dev/vfio/${name}`) })),
    vfioPciLoaded: existsSync(`${root}/sys/bus/pci/drivers/vfio-pci`),
    type1Loaded: existsSync(`${root}/sys/module/vfio_iommu_type1`),
    dmaHeaps: listFolder(`${root}/dev/dma_heap`),
    uDmaBufs: listFolder(`${root}/sys/class/u-dma-buf`),
    uio: listFolder(`${root}/sys/class/uio`),
    numaNodes: memoryNodes(root),
    noIommuGroups: listFolder(`${root}/dev/vfio`).flatMap((name) => {
      const number = /^noiommu-(\d+)$/.exec(name)?.[1];
      return number === undefined ? [] : [Number(number)];
    }),
    memlock: readMemlock('VmLck', root),
    hugePages: hugePages(root),
    ...addon,
    addonFile: process.env.USERDMA_ADDON || undefined,
  };
}

function tryAddon(): Pick<Machine, 'addon' | 'pageSize'> {
  try {
    return { addon: undefined, pageSize: loadAddon().pageSize() };
  } catch (error) {
    return { addon: (error as Error).message, pageSize: undefined };
  }
}

function runtimeName(): string {
  const { bun, deno } = process.versions as { bun?: string; deno?: string };
  if (bun !== undefined) return `bun ${bun}`;
  return deno === undefined ? `node ${process.versions.node}` : `deno ${deno}`;
}

/** Node.js reports the glibc that it runs with. On Linux without a report it is musl. */
function libcName(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  const version = report?.header?.glibcVersionRuntime;
  return version === undefined ? 'musl' : `glibc ${version}`;
}

function confinement(root: string): Machine['confined'] {
  if (/microsoft/i.test(readText(`${root}/proc/sys/kernel/osrelease`) ?? '')) return 'WSL';
  const marked = existsSync(`${root}/.dockerenv`) || existsSync(`${root}/run/.containerenv`);
  const byName = /\bcontainer=/.test(readText(`${root}/proc/1/environ`) ?? '');
  return marked || byName ? 'container' : undefined;
}

/** The last byte of the variable is 1 if secure boot is on. */
function secureBoot(root: string): boolean | undefined {
  const path = `${root}/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c`;
  try {
    return readFileSync(path).at(-1) === 1;
  } catch {
    return undefined;
  }
}

export function nodeState(path: string): NodeState {
  if (!existsSync(path)) return 'absent';
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return 'usable';
  } catch {
    return 'forbidden';
  }
}

function hugePages(root: string): HugePagePool[] {
  const folder = `${root}/sys/kernel/mm/hugepages`;
  const usual = /^Hugepagesize:\s+(\d+) kB$/m.exec(readText(`${root}/proc/meminfo`) ?? '')?.[1];
  const names = listFolder(folder);
  return [
    ...names.filter((name) => name.includes(`-${usual}k`)),
    ...names.filter((name) => !name.includes(`-${usual}k`)),
  ].map((name) => ({
    pageSize: Number(/\d+/.exec(name)?.[0]) * 1024,
    reserved: Number(readText(`${folder}/${name}/nr_hugepages`)),
    free: Number(readText(`${folder}/${name}/free_hugepages`)),
  }));
}
