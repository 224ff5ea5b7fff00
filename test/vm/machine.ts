/** The machines of the tests, as data: which IOMMU, which PCI devices at which address, which modules, who drives what. */

import type { Flavour } from '../../lib/vm/debian-kernel.ts';
import { type Machine as Bootable, type Device, VFIO_MODULES } from '../../lib/vm/machine.ts';

export interface Machine extends Bootable {
  /** The kernel that it boots: the one that is found (lib/vm/kernel.ts), or our own (own-kernel.ts). Default 'found'. */
  readonly kernel?: 'found' | 'own';
  /** Debian's flavour of that kernel, where it is another than the host's. */
  readonly flavour?: Flavour;
  /** Folder under `test/vm` whose files run here. Default: the one with the machine's name. */
  readonly folder?: string;
  /** Whether a run of everything has it too; without, it runs when it is named. Default true. */
  readonly always?: boolean;
  /** Folder under `test` with the sources of a module for our own kernel. Tests find it built by USERDMA_TEST_MODULE. */
  readonly module?: string;
  /** Folders under `test` whose files run here as well as on the host: they find their device by environment. */
  readonly shared: readonly string[];
}

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

/** The same device; edu at 0x10.0 takes addresses of up to 40 bits. Huge pages lie above what 28 bits reach. */
function wide(device: Device): Device {
  const isFirst = device.variable === 'USERDMA_TEST_EDU';
  return isFirst ? { ...device, qemu: `${device.qemu},dma_mask=0xffffffffff` } : device;
}

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
 * @param properties more of QEMU's
 */
function rootPort(slot: number, properties = ''): Device {
  const name = `id=port${slot},chassis=${slot},slot=${slot},addr=0x${slot.toString(16)}`;
  return { qemu: `pcie-root-port,${name},x-speed=5${properties}` };
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

/** Behind a conventional bridge: they share a group. */
const conventional: readonly Device[] = [
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
];

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
  ...[4, 5, 6, 7].map((slot) => rootPort(slot)),
  nvme('nvme0', 4, 1, 'USERDMA_TEST_NVME'),
  nvme('nvme1', 5, 2, 'USERDMA_TEST_NVME_SECOND'),
  {
    // A network whose only member it is: it hears itself, by its own loopback.
    netdev: 'hubport,id=net0,hubid=0',
    qemu: 'e1000e,id=nic,netdev=net0,bus=port6',
    address: '0000:03:00.0',
    driver: 'vfio-pci',
    variable: 'USERDMA_TEST_NIC',
  },
  { qemu: 'pcie-pci-bridge,id=bridge,bus=port7' },
  ...conventional,
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
  rootPort(11),
  // QEMU 10 and newer refuse it.
  nvme('nvme2', 11, 9, 'USERDMA_TEST_NVME_LARGE', 10),
  // Without access control the kernel cannot tell the port from what is plugged into it: they share a group.
  rootPort(12, ',disable-acs=on'),
  {
    qemu: 'edu,id=edu1,bus=port12,dma_mask=0xffffffff',
    address: '0000:0a:00.0',
    driver: 'vfio-pci',
    variable: 'USERDMA_TEST_EDU_WITH_PORT',
  },
];

const expressModules = ['nvme', 'virtio_blk', 'aer_inject', 'crc32c_generic', 'ext4', ...VFIO_MODULES];

/** What `npm run vm` boots, and where tests run that ask for no other machine. */
export const defaultMachine: Machine = {
  name: 'intel',
  folder: '.',
  iommu: 'intel',
  clock: 'jumps',
  modules: VFIO_MODULES,
  devices: [edu, wideEdu, ...sharedGroup],
  shared: ['conformance', 'debug', 'edu', 'memory', 'mistakes'],
};

/** Why tests of these devices, and others, cannot run there. */
function absent(devices: readonly Device[]): Record<string, string> {
  const variables = devices.flatMap(({ variable }) => variable ?? []);
  return {
    'dma-heap': "Debian's kernel for arm64 has no dma-heap",
    compiler: 'the root for arm64 has no compiler',
    ...Object.fromEntries(
      variables.map((variable) => [variable, 'an SMMUv3 serves no function behind a conventional bridge']),
    ),
  };
}

/**
 * Arm's board with its own IOMMU, which serves no function behind a conventional bridge. Its kernel has no dma-heap.
 * @param flavour of the kernel: with pages of 4 KiB, or of 16
 */
function arm64(flavour: 'arm64' | 'arm64-16k'): Machine[] {
  const common = { architecture: 'arm64', iommu: 'smmuv3', flavour, always: false } as const;
  // Without it a kernel that is started with a device tree switches the ports' access control on too late (Linux 6.12).
  const parameters = ['pci=config_acs=xx111x1@pci:1b36:c'];
  return [
    {
      ...common,
      ...{ name: flavour, folder: '.', clock: 'jumps', modules: VFIO_MODULES },
      ...{ devices: [edu, wideEdu], absent: absent(sharedGroup) },
      shared: ['conformance', 'debug', 'edu', 'memory', 'mistakes'],
    },
    {
      ...common,
      ...{ name: `${flavour}-pcie`, folder: 'pcie', clock: 'host', modules: expressModules, monitor: true },
      parameters,
      ...{ devices: expressDevices.filter((device) => !conventional.includes(device)) },
      absent: {
        ...absent(conventional),
        ...(flavour === 'arm64-16k'
          ? { 'page-of-registers': "a page is all registers of QEMU's disk, with the table of interrupts" }
          : {}),
      },
      shared: ['nvme', 'nic', 'pci', 'virtio-blk'],
    },
  ];
}

/** The kernel as the judge of its own rules, in one of its settings (test/oracle). The module takes the device. */
function oracle(name: string, parameters: readonly string[]): Machine {
  return {
    name: `oracle-${name}`,
    iommu: 'intel',
    clock: 'host',
    kernel: 'own',
    parameters,
    modules: [],
    module: 'oracle/module',
    devices: [{ ...undriven(wideEdu), variable: 'USERDMA_TEST_ORACLE' }],
    folder: 'oracle',
    always: false,
    shared: [],
  };
}

/** Every machine; the tests of the ones below live in the folder `test/vm/<name>`. */
export const machines: readonly Machine[] = [
  defaultMachine,
  {
    name: 'virtio-iommu',
    iommu: 'virtio',
    clock: 'jumps',
    modules: VFIO_MODULES,
    devices: [edu, wideEdu],
    shared: ['conformance'],
  },
  {
    // Devices reach all memory, and this one's addresses are wide enough for all there is.
    name: 'no-iommu',
    iommu: 'none',
    clock: 'jumps',
    modules: [...VFIO_MODULES, ...uio],
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
    modules: expressModules,
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
    shared: ['nvme', 'nic', 'pci', 'virtio-blk', 'vm/pcie'],
  },
  {
    // A disk that divides itself into virtual functions.
    name: 'sriov',
    iommu: 'intel',
    clock: 'host',
    kernel: 'own',
    modules: [],
    devices: [
      edu,
      rootPort(4),
      { qemu: 'nvme-subsys,id=subsys0' },
      {
        qemu:
          'nvme,id=sriov,serial=sriov,subsys=subsys0,bus=port4,max_ioqpairs=10,msix_qsize=6,' +
          'sriov_max_vfs=4,sriov_vq_flexible=8,sriov_vi_flexible=4',
        address: '0000:01:00.0',
        driver: 'vfio-pci',
        variable: 'USERDMA_TEST_SRIOV',
      },
      { qemu: 'nvme-ns,drive=shared,bus=sriov,nsid=1', disk: 'shared' },
      rootPort(5),
      {
        // From QEMU 8 on.
        qemu: 'igb,bus=port5',
        address: '0000:02:00.0',
        driver: 'vfio-pci',
        variable: 'USERDMA_TEST_IGB',
      },
    ],
    shared: [],
  },
  {
    // Two nodes of memory. One edu device is nearest to the second one, behind a host bridge of its own.
    name: 'numa',
    iommu: 'intel',
    clock: 'jumps',
    kernel: 'own',
    nodes: 2,
    parameters: ['hugepages=0:8,1:8'],
    modules: [],
    devices: [
      edu,
      { qemu: 'pxb-pcie,id=host1,bus_nr=0x40,numa_node=1,bus=pcie.0' },
      { qemu: 'pcie-root-port,id=far,bus=host1,chassis=40,slot=40' },
      {
        qemu: 'edu,bus=far,dma_mask=0xffffffffff',
        address: '0000:41:00.0',
        driver: 'vfio-pci',
        variable: 'USERDMA_TEST_EDU_FAR',
      },
    ],
    shared: [],
  },
  {
    // No IOMMU, and VFIO all the same. Its functions get huge pages, whose physical addresses the library knows.
    name: 'noiommu',
    iommu: 'none',
    clock: 'host',
    kernel: 'own',
    parameters: ['vfio.enable_unsafe_noiommu_mode=1', 'hugepages=96'],
    modules: [],
    devices: expressDevices.map(wide),
    monitor: true,
    absent: { iommu: 'no IOMMU keeps a device to what is mapped, or leads its DMA to registers' },
    shared: ['nvme', 'nic', 'edu'],
  },
  oracle('translated', []),
  oracle('28-bit', []),
  oracle('passthrough', ['iommu=pt']),
  oracle('swiotlb', ['iommu=pt', 'swiotlb=force']),
  {
    name: 'no-vfio',
    iommu: 'intel',
    clock: 'jumps',
    modules: [],
    devices: [{ qemu: edu.qemu, address: '0000:00:10.0', variable: 'USERDMA_TEST_EDU' }],
    shared: [],
  },
  ...arm64('arm64'),
  ...arm64('arm64-16k'),
];
