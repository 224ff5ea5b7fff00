/**
 * Machines as data: which IOMMU, which PCI devices at which address, which kernel modules, who drives what.
 *
 * Every machine has one CPU and nothing in it that is not named here. Guest programs write to a
 * virtio-serial port that is QEMU's standard output; the kernel's own log goes to a file, so that the two never
 * mix. The host's root is visible read-only; a second, writable folder brings results back.
 */

import { type ArchitectureName, architectures } from './architecture.ts';
import { deviceOf, type IommuName, iommus } from './iommu.ts';

/** A PCI device: QEMU's `-device` text and, where a test needs to find it, its address and who drives it. */
export interface Device {
  readonly qemu: string;
  /** QEMU's `-object` that the device needs. */
  readonly object?: string;
  /** QEMU's `-netdev` that it needs. */
  readonly netdev?: string;
  /** Address in the guest, fixed by `addr=` here, so that no test has to search. */
  readonly address?: string;
  /** Driver bound before the command starts; without one the kernel decides. */
  readonly driver?: 'vfio-pci';
  /** Environment variable that tells guest programs the address. */
  readonly variable?: string;
  /** A disk of its own: QEMU's name for it. Without an image it is empty, and guest programs see it as `<name>.img` on the share. */
  readonly disk?: string;
  /** The host file behind the disk, which keeps what the guest writes. */
  readonly image?: string;
}

export interface Machine {
  readonly name: string;
  /** Default x86-64. */
  readonly architecture?: ArchitectureName;
  /** QEMU's `-cpu`. Default: that of the architecture. */
  readonly cpu?: string;
  readonly iommu: IommuName;
  /**
   * How the guest's time passes. 'jumps': by instructions executed, and straight to the next timer whenever the guest
   * is idle, so that a device that takes 100 ms costs the host nothing; 'host': as the host's.
   */
  readonly clock: 'jumps' | 'host';
  /** Modules loaded after the root is mounted, in this order, with their parameters. */
  readonly modules: readonly string[];
  readonly devices: readonly Device[];
  /** Addresses of more functions that vfio-pci gets. */
  readonly bind?: readonly string[];
  /** Whether VFIO's container is there (/dev/vfio/vfio), as far as the kernel has it. Default true. */
  readonly container?: boolean;
  /** What it cannot have, and why: variables of devices, or a name that tests know. */
  readonly absent?: Readonly<Record<string, string>>;
  /** Parameters of the kernel beside those that every machine has. Of two that say the opposite, these hold. */
  readonly parameters?: readonly string[];
  /** QEMU's `-m`. Default 1G. */
  readonly memory?: string;
  /** NUMA nodes, each with the same share of 1 GiB. The processor is on the first. Default: none. */
  readonly nodes?: number;
  /** Whether guest programs may talk to QEMU's monitor (QMP), by the virtio port `userdma.monitor`. Default false. */
  readonly monitor?: boolean;
}

/** The modules of VFIO. */
export const VFIO_MODULES: readonly string[] = ['vfio_iommu_type1', 'vfio-pci'];

/** Files a machine is started from, and where its results go. */
export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string;
  /** Host folder that is the guest's root. Default: the host's root. */
  readonly root?: string;
  /** More folders of the host that the guest sees, read-only. */
  readonly folders?: readonly Folder[];
  /** Host folder the guest may write to. */
  readonly share: string;
  /** Host file that receives the guest kernel's console. */
  readonly console: string;
}

/** A folder of the host that the guest sees at the same path, under another root than the host's. */
export interface Folder {
  readonly path: string;
  /** What QEMU and the guest call it. */
  readonly tag: string;
}

export function architectureOf({
  architecture = 'x86-64',
}: Machine): (typeof architectures)[ArchitectureName] {
  return architectures[architecture];
}

/**
 * Kernel parameters. A kernel BUG must end the run at once instead of hanging it, hence `panic=-1 oops=panic`
 * (with `-no-reboot`). Words the kernel does not know become environment variables of the guest's /init.
 */
function kernelCommandLine(machine: Machine): string {
  const { console, parameters } = architectureOf(machine);
  const words = [`console=${console}`, 'quiet', 'panic=-1', 'oops=panic', ...parameters];
  return [...words, ...iommus[machine.iommu].parameters, ...(machine.parameters ?? [])].join(' ');
}

/** Only the emulator counts instructions: 4 ns each here. */
function clockArguments({ clock }: Machine, accel: string): string[] {
  return clock === 'jumps' && accel === 'tcg' ? ['-icount', 'shift=2,sleep=off'] : [];
}

function numaArguments({ nodes = 0 }: Machine): string[] {
  return Array.from({ length: nodes }, (_, node) => [
    ...['-object', `memory-backend-ram,id=node${node},size=${1024 / nodes}M`],
    ...['-numa', `node,nodeid=${node},memdev=node${node}${node === 0 ? ',cpus=0' : ''}`],
  ]).flat();
}

/**
 * The arguments for `machine` of a QEMU of that version. `accel` is tcg unless the caller was told that KVM works here.
 */
export function qemuArguments(machine: Machine, files: BootFiles, accel: string, version: string): string[] {
  const { cpu, machine: board } = architectureOf(machine);
  const { board: onBoard } = iommus[machine.iommu];
  const iommu = deviceOf(machine.iommu, version);
  return [
    ...['-nodefaults', '-machine', onBoard === undefined ? board : `${board},${onBoard}`, '-accel', accel],
    ...clockArguments(machine, accel),
    ...['-cpu', machine.cpu ?? cpu, '-smp', '1', '-m', machine.memory ?? '1G'],
    ...numaArguments(machine),
    ...['-display', 'none', '-monitor', 'none', '-no-reboot'],
    ...['-kernel', files.kernel, '-initrd', files.initrd, '-append', kernelCommandLine(machine)],
    ...['-serial', `file:${files.console}`],
    ...(iommu === undefined ? [] : ['-device', iommu]), // before the devices it serves
    ...machine.devices.flatMap(({ object, netdev, disk, image, qemu }) => [
      ...(object === undefined ? [] : ['-object', object]),
      ...(netdev === undefined ? [] : ['-netdev', netdev]),
      ...(disk === undefined ? [] : ['-drive', driveOption(disk, image ?? diskImage(files.share, disk))]),
      ...['-device', qemu],
    ]),
    ...['-device', `virtio-serial-pci,${ROOT_BUS}`, '-chardev', 'stdio,id=output,signal=off'],
    ...['-device', 'virtserialport,chardev=output,name=userdma.output'],
    ...(machine.monitor ? monitor(files.share) : []),
    ...share(files.root ?? '/', 'host', 'readonly=on,multidevs=remap'),
    ...(files.folders ?? []).flatMap(({ path, tag }) => share(path, tag, 'readonly=on,multidevs=remap')),
    ...share(files.share, 'share', 'multidevs=remap'),
  ];
}

/** Named, because QEMU would take the bus of another host bridge if there is one. */
const ROOT_BUS = 'bus=pcie.0';

function share(path: string, tag: string, options: string): string[] {
  return [
    ...['-fsdev', `local,id=${tag},path=${path.replaceAll(',', ',,')},security_model=none,${options}`],
    ...['-device', `virtio-9p-pci,fsdev=${tag},mount_tag=${tag},${ROOT_BUS}`],
  ];
}

function driveOption(disk: string, image: string): string {
  return `file=${image.replaceAll(',', ',,')},if=none,id=${disk},format=raw`;
}

/** The file behind a disk that has no image of its own. */
export function diskImage(share: string, disk: string): string {
  return `${share}/${disk}.img`;
}

/** QEMU is a client of its own monitor, on behalf of the guest. */
function monitor(share: string): string[] {
  const path = `path=${`${share}/monitor`.replaceAll(',', ',,')}`;
  return [
    ...['-chardev', `socket,id=monitor,${path},server=on,wait=off`, '-mon', 'chardev=monitor,mode=control'],
    ...['-chardev', `socket,id=monitorclient,${path}`],
    ...['-device', 'virtserialport,chardev=monitorclient,name=userdma.monitor'],
  ];
}
