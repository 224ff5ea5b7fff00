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
  /** A disk of its own, empty at first: QEMU's name for it. Guest programs see its image as `<name>.img` on the share. */
  readonly disk?: string;
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
  /** Which kernel it boots: the one that is found (kernel.ts), or our own (own-kernel.ts). Default 'found'. */
  readonly kernel?: 'found' | 'own';
  /** Whether VFIO's container is there (/dev/vfio/vfio), as far as the kernel has it. Default true. */
  readonly container?: boolean;
  /** QEMU's `-m`. Default 1G. */
  readonly memory?: string;
  /** Whether guest programs may talk to QEMU's monitor (QMP), by the virtio port `userdma.monitor`. Default false. */
  readonly monitor?: boolean;
  /** Folders under `test` whose files run here as well as on the host: they find their device by environment. */
  readonly shared: readonly string[];
}

const vfio = ['vfio_iommu_type1', 'vfio-pci'];
const uio = ['uio_pci_generic', 'uio_netx'];

/** The edu device as it comes: a 28-bit DMA mask. */
const edu: Device = {
  qemu: 'edu,addr=0x10',
  address: '0000:00:10.0',
  driver: 'vfio-pci',
  variable: 'USERDMA_TEST_EDU',
};

/** An edu device that takes addresses of up to 40 bits. */
const wideEdu: Device = {
  qemu: 'edu,addr=0x11,dma_mask=0xffffffffff',
  address: '0000:00:11.0',
  driver: 'vfio-pci',
  variable: 'USERDMA_TEST_EDU_WIDE',
};

/** The same device, for tests that bind its driver themselves. */
function undriven({ driver, ...device }: Device): Device {
  return device;
}

/** The same device with a boot ROM, that of a network card. */
function withRom({ qemu, ...device }: Device): Device {
  return { ...device, qemu: `${qemu},romfile=pxe-e1000e.rom` };
}

/** Registers that are plain memory and no interrupt: something for a UIO driver with maps to hand out. */
const ivshmem: Device = {
  object: 'memory-backend-ram,id=shared,size=1M',
  qemu: 'ivshmem-plain,memdev=shared,addr=0x12',
  address: '0000:00:12.0',
  variable: 'USERDMA_TEST_IVSHMEM',
};

/**
 * One IOMMU group of three devices behind a conventional bridge. The kernel's own virtio driver holds the third,
 * so the group is not viable for VFIO until someone unbinds it.
 */
const sharedGroup: readonly Device[] = [
  { qemu: 'pcie-root-port,id=rootport,chassis=1,slot=1,addr=0x4' },
  { qemu: 'pcie-pci-bridge,id=bridge,bus=rootport' },
  {
    qemu: 'edu,bus=bridge,addr=0x1',
    address: '0000:02:01.0',
    driver: 'vfio-pci',
    variable: 'USERDMA_TEST_EDU_SHARED',
  },
  { qemu: 'edu,bus=bridge,addr=0x2', address: '0000:02:02.0' },
  {
    qemu: 'virtio-rng-pci,bus=bridge,addr=0x3',
    address: '0000:02:03.0',
    variable: 'USERDMA_TEST_SIBLING',
  },
];

/** QEMU's device for testing accesses: it counts those to memory and to ports. */
const testDevice: Device = {
  qemu: 'pci-testdev,addr=0x13',
  address: '0000:00:13.0',
  driver: 'vfio-pci',
  variable: 'USERDMA_TEST_ACCESSES',
};

/** An SD host controller without a card: its registers fill a fraction of a page, and a hot reset clears them. */
const smallBar: Device = {
  qemu: 'sdhci-pci,bus=bridge,addr=0x3',
  address: '0000:05:03.0',
  driver: 'vfio-pci',
  variable: 'USERDMA_TEST_SMALL_BAR',
};

/**
 * A PCI Express port with nothing behind it yet, at the slot of that number; devices are put on bus `port<slot>`. Of a
 * faster one Linux wants to see the link come back after a hot reset, which QEMU 7.2 does not show.
 */
function rootPort(slot: number): Device {
  const name = `id=port${slot},chassis=${slot},slot=${slot},addr=0x${slot.toString(16)}`;
  return { qemu: `pcie-root-port,${name},x-speed=5` };
}

/** An NVMe disk of one namespace behind a port. `id` is what the monitor calls it; a command moves 4 KiB << `mdts`. */
function nvme(id: string, slot: number, bus: number, variable: string, mdts = 7): Device {
  return {
    qemu: `nvme,id=${id},drive=${id},serial=${id},mdts=${mdts},bus=port${slot}`,
    address: `0000:0${bus}:00.0`,
    driver: 'vfio-pci',
    variable,
    disk: id,
  };
}

/**
 * PCI Express as drivers meet it, buses in the order of the ports. Two functions of one device share a group; two
 * devices behind a conventional bridge do too, and are reset together.
 */
const expressDevices: readonly Device[] = [
  { ...edu, qemu: 'edu,addr=0x10.0,multifunction=on' },
  {
    qemu: 'edu,addr=0x10.1',
    address: '0000:00:10.1',
    driver: 'vfio-pci',
    variable: 'USERDMA_TEST_EDU_TWIN',
  },
  wideEdu,
  { ...ivshmem, driver: 'vfio-pci' },
  testDevice,
  ...[4, 5, 6, 7].map(rootPort),
  nvme('nvme0', 4, 1, 'USERDMA_TEST_NVME'),
  nvme('nvme1', 5, 2, 'USERDMA_TEST_NVME_SECOND', 10),
  {
    // A network whose only member it is: it hears itself, by its own loopback.
    netdev: 'hubport,id=net0,hubid=0',
    qemu: 'e1000e,id=nic,netdev=net0,bus=port6',
    address: '0000:03:00.0',
    driver: 'vfio-pci',
    variable: 'USERDMA_TEST_NIC',
  },
  { qemu: 'pcie-pci-bridge,id=bridge,bus=port7' },
  {
    qemu: 'edu,bus=bridge,addr=0x1',
    address: '0000:05:01.0',
    driver: 'vfio-pci',
    variable: 'USERDMA_TEST_EDU_BRIDGED',
  },
  {
    qemu: 'edu,bus=bridge,addr=0x2',
    address: '0000:05:02.0',
    driver: 'vfio-pci',
    variable: 'USERDMA_TEST_EDU_NEIGHBOUR',
  },
  smallBar,
  rootPort(8),
  {
    qemu: 'edu,id=edu0,bus=port8,dma_mask=0xffffffff',
    address: '0000:06:00.0',
    driver: 'vfio-pci',
    variable: 'USERDMA_TEST_EDU_PLUGGED',
  },
  rootPort(9),
  {
    // The kernel shows errors that it was told to inject instead of the device's own from then on: nothing else uses it.
    qemu: 'e1000e,bus=port9',
    address: '0000:07:00.0',
    driver: 'vfio-pci',
    variable: 'USERDMA_TEST_NIC_INJECTED',
  },
  rootPort(10),
  {
    // Behind the IOMMU like every other device, which a virtio device is only when it is told to be.
    qemu: 'virtio-blk-pci,drive=vblk0,serial=vblk0,disable-legacy=on,iommu_platform=on,bus=port10',
    address: '0000:08:00.0',
    driver: 'vfio-pci',
    variable: 'USERDMA_TEST_VIRTIO_BLK',
    disk: 'vblk0',
  },
];

/** What `npm run vm` boots, and where tests run that ask for no other machine. */
export const defaultMachine: Machine = {
  name: 'intel',
  iommu: 'intel',
  clock: 'jumps',
  modules: vfio,
  devices: [edu, wideEdu, ...sharedGroup],
  shared: ['conformance', 'debug', 'edu', 'memory', 'mistakes'],
};

/** Every machine; the tests of the ones below live in the folder `test/vm/<name>`. */
export const machines: readonly Machine[] = [
  defaultMachine,
  {
    // No interrupt remapping on this one: VFIO refuses it unless told that this is fine.
    name: 'virtio-iommu',
    iommu: 'virtio',
    clock: 'jumps',
    modules: ['vfio_iommu_type1 allow_unsafe_interrupts=1', 'vfio-pci'],
    devices: [edu, wideEdu],
    shared: ['conformance'],
  },
  {
    // Devices reach all memory, and this one's addresses are wide enough for all there is.
    name: 'no-iommu',
    iommu: 'none',
    clock: 'jumps',
    modules: [...vfio, ...uio],
    devices: [undriven(edu), withRom(undriven(wideEdu)), ivshmem],
    shared: [],
  },
  {
    // 28 bits of address reach half of its memory.
    name: 'small',
    iommu: 'none',
    clock: 'jumps',
    memory: '512M',
    modules: uio,
    devices: [undriven(edu)],
    shared: [],
  },
  {
    // Time is the host's: a disk answers when the host does, and no clock must have jumped meanwhile.
    name: 'pcie',
    iommu: 'intel',
    clock: 'host',
    modules: ['nvme', 'virtio_blk', 'aer_inject', 'crc32c_generic', 'ext4', ...vfio],
    devices: expressDevices,
    monitor: true,
    shared: ['nvme', 'nic', 'pci', 'virtio-blk'],
  },
  {
    // Our own kernel can open every function without its group. Here the container is there too.
    name: 'iommufd',
    iommu: 'intel',
    clock: 'jumps',
    kernel: 'own',
    modules: [],
    devices: [edu, wideEdu, ...sharedGroup],
    shared: [],
  },
  {
    // Without the container, a function that is opened by its address is one of iommufd.
    name: 'iommufd-edu',
    iommu: 'intel',
    clock: 'jumps',
    kernel: 'own',
    container: false,
    modules: [],
    devices: [edu, wideEdu, ...sharedGroup],
    shared: ['conformance', 'edu', 'mistakes'],
  },
  {
    name: 'iommufd-pcie',
    iommu: 'intel',
    clock: 'host',
    kernel: 'own',
    container: false,
    modules: [],
    devices: expressDevices,
    monitor: true,
    shared: ['nvme', 'nic', 'pci'],
  },
  {
    name: 'no-vfio',
    iommu: 'intel',
    clock: 'jumps',
    modules: [],
    devices: [{ qemu: edu.qemu, address: '0000:00:10.0', variable: 'USERDMA_TEST_EDU' }],
    shared: [],
  },
];

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
    ...machine.devices.flatMap(({ object, netdev, disk, qemu }) => [
      ...(object === undefined ? [] : ['-object', object]),
      ...(netdev === undefined ? [] : ['-netdev', netdev]),
      ...(disk === undefined ? [] : ['-drive', driveOption(disk, files.share)]),
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

function driveOption(disk: string, share: string): string {
  return `file=${diskImage(share, disk).replaceAll(',', ',,')},if=none,id=${disk},format=raw`;
}

/** The file behind a device's disk. */
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
