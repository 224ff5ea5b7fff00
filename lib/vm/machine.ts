/**
 * Machines as data: which IOMMU, which PCI devices at which address, which kernel modules, who drives what.
 *
 * Every machine is a q35 with one CPU and nothing in it that is not named here. Guest programs write to a
 * virtio-serial port that is QEMU's standard output; the kernel's own log goes to a file, so that the two never
 * mix. The host's root is visible read-only; a second, writable folder brings results back.
 */

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
  readonly iommu: 'intel' | 'virtio' | 'none';
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
  /** QEMU's `-m`. Default 1G. */
  readonly memory?: string;
  /** Whether guest programs may talk to QEMU's monitor (QMP), by the virtio port `userdma.monitor`. Default false. */
  readonly monitor?: boolean;
}

/**
 * The modules of VFIO, with their parameters. Behind a virtio-iommu no interrupts are remapped: VFIO refuses that
 * unless it is told that this is fine.
 */
export function vfioModules(iommu: Machine['iommu']): string[] {
  const unsafe = iommu === 'virtio' ? ' allow_unsafe_interrupts=1' : '';
  return [`vfio_iommu_type1${unsafe}`, 'vfio-pci'];
}

/** Files a machine is started from, and where its results go. */
export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string;
  /** Host folder the guest may write to. */
  readonly share: string;
  /** Host file that receives the guest kernel's console. */
  readonly console: string;
}

const iommuDevice = {
  intel: ['-device', 'intel-iommu,intremap=on,caching-mode=on'],
  virtio: ['-device', 'virtio-iommu-pci,addr=0x1e'],
  none: [],
} as const;

/**
 * Kernel parameters. A kernel BUG must end the run at once instead of hanging it, hence `panic=-1 oops=panic`
 * (with `-no-reboot`). Words the kernel does not know become environment variables of the guest's /init.
 */
function kernelCommandLine(machine: Machine): string {
  const words = ['console=ttyS0', 'quiet', 'panic=-1', 'oops=panic', 'iommu=nopt'];
  // On a busy host an emulated timer may miss the kernel's short test of it, which then panics.
  words.push('no_timer_check');
  words.push(`intel_iommu=${machine.iommu === 'intel' ? 'on' : 'off'}`);
  // Must be there before the first driver of a device behind it.
  if (machine.iommu === 'virtio') words.push('EARLY_MODULES=virtio-iommu');
  return words.join(' ');
}

/** Only the emulator counts instructions: 4 ns each here. */
function clockArguments({ clock }: Machine, accel: string): string[] {
  return clock === 'jumps' && accel === 'tcg' ? ['-icount', 'shift=2,sleep=off'] : [];
}

/** QEMU's arguments for `machine`. `accel` is tcg unless the caller was told that KVM works here. */
export function qemuArguments(machine: Machine, files: BootFiles, accel: string): string[] {
  return [
    ...['-nodefaults', '-machine', 'q35,kernel-irqchip=split', '-accel', accel],
    ...clockArguments(machine, accel),
    ...[
      '-cpu',
      'max',
      '-smp',
      '1',
      '-m',
      machine.memory ?? '1G',
      '-display',
      'none',
      '-monitor',
      'none',
      '-no-reboot',
    ],
    ...['-kernel', files.kernel, '-initrd', files.initrd, '-append', kernelCommandLine(machine)],
    ...['-serial', `file:${files.console}`],
    ...iommuDevice[machine.iommu], // before the devices it serves
    ...machine.devices.flatMap(({ object, netdev, disk, image, qemu }) => [
      ...(object === undefined ? [] : ['-object', object]),
      ...(netdev === undefined ? [] : ['-netdev', netdev]),
      ...(disk === undefined ? [] : ['-drive', driveOption(disk, image ?? diskImage(files.share, disk))]),
      ...['-device', qemu],
    ]),
    ...['-device', 'virtio-serial-pci', '-chardev', 'stdio,id=output,signal=off'],
    ...['-device', 'virtserialport,chardev=output,name=userdma.output'],
    ...(machine.monitor ? monitor(files.share) : []),
    ...share('/', 'host', 'readonly=on,multidevs=remap'),
    ...share(files.share, 'share', 'multidevs=remap'),
  ];
}

function share(path: string, tag: string, options: string): string[] {
  return [
    '-virtfs',
    `local,path=${path.replaceAll(',', ',,')},mount_tag=${tag},security_model=none,${options}`,
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
