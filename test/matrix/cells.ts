/**
 * The cells of the matrix, as data: what runs on which kernel, QEMU, IOMMU, architecture and Node.js. A cell with a
 * result is not run again, so that a new row costs only itself.
 */
import type { IommuName } from '../../lib/vm/iommu.ts';

export interface Cell {
  /** The machines of the guest tests; without them all tests of the host run. */
  readonly machines?: readonly string[];
  /** Parts of the paths of files, where not all of a machine's run. */
  readonly files?: readonly string[];
  readonly architecture?: 'x86-64' | 'arm64';
  /** Bytes of a page. Default 4096. */
  readonly pages?: number;
  /** As USERDMA_VM_KERNEL. Default: the one that is found. */
  readonly kernel?: string;
  /** As USERDMA_VM_QEMU. Default: the system's. */
  readonly qemu?: string;
  /** As USERDMA_VM_IOMMU. Default: the machine's own. */
  readonly iommu?: IommuName;
  /** A major version of Node.js. Default: the one that runs this program. */
  readonly node?: string;
  /** What cannot work in this cell and is no fault of ours, with the evidence. */
  readonly note?: string;
}

/** Machines that are small. */
const others = ['virtio-iommu', 'no-iommu', 'small', 'no-vfio'];
const newest = { kernel: 'trixie-backports', qemu: 'sid' };

export const cells: readonly Cell[] = [
  // Tests of the host.
  { node: '20' },
  { node: '22' },
  { node: '24' },
  { node: '26' },
  // QEMU 7.2 and Linux 6.12: what CI runs.
  { machines: ['intel'] },
  { machines: ['pcie'] },
  { machines: others },
  // Other IOMMUs.
  { machines: ['intel'], iommu: 'intel-scalable' },
  { machines: ['pcie'], iommu: 'intel-scalable' },
  { machines: ['intel'], iommu: 'amd' },
  { machines: ['intel'], iommu: 'virtio' },
  // An older kernel, and the one that the tests build.
  {
    machines: ['intel'],
    kernel: 'bookworm',
    note: "Debian's Linux 6.1 has no udmabuf and no dma-heaps, and does not count page tables of the IOMMU: their tests are skipped",
  },
  { machines: ['pcie'], kernel: 'bookworm' },
  { machines: ['iommufd', 'iommufd-edu'], kernel: 'own' },
  { machines: ['iommufd-pcie'], kernel: 'own' },
  { machines: ['noiommu'], kernel: 'own' },
  { machines: ['sriov', 'numa'], kernel: 'own' },
  // Newer kernels and QEMUs.
  { machines: ['intel'], kernel: 'trixie-backports', qemu: 'trixie' },
  { machines: ['pcie'], kernel: 'trixie-backports', qemu: 'trixie' },
  { machines: ['intel'], ...newest },
  { machines: ['pcie'], ...newest },
  { machines: others, ...newest },
  { machines: ['pcie'], ...newest, iommu: 'intel-scalable' },
  { machines: ['iommufd', 'iommufd-edu'], kernel: 'own', qemu: 'sid' },
  { machines: ['iommufd-pcie'], kernel: 'own', qemu: 'sid' },
  // Arm, with pages of both sizes.
  { machines: ['arm64'], architecture: 'arm64' },
  { machines: ['arm64-pcie'], architecture: 'arm64' },
  { machines: ['arm64-16k'], architecture: 'arm64', pages: 16_384 },
  { machines: ['arm64-16k-pcie'], architecture: 'arm64', pages: 16_384 },
  // The emulated igb, which has virtual functions, is new in QEMU 8.
  { machines: ['sriov'], kernel: 'own', qemu: 'trixie' },
  // Node.js in the guest.
  { machines: ['intel'], node: '22' },
  { machines: ['intel'], node: '24' },
  { machines: ['intel'], node: '26' },
];

/** What one cell is told from another by. */
export function keyOf({ note, ...cell }: Cell): string {
  return JSON.stringify(Object.fromEntries(Object.entries(cell).sort(([a], [b]) => a.localeCompare(b))));
}
