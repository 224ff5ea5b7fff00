/** What depends on the guest's processor, as data. */

export type ArchitectureName = 'x86-64' | 'arm64';

export interface Architecture {
  /** QEMU's program. */
  readonly qemu: string;
  /** Debian's packages with that program and its firmware. */
  readonly qemuPackages: readonly string[];
  /** Debian's name of the architecture. */
  readonly debian: string;
  /** QEMU's `-machine`. */
  readonly machine: string;
  /** QEMU's `-cpu`, unless the machine or USERDMA_VM_CPU says otherwise. */
  readonly cpu: string;
  /** The kernel's name of the serial port. */
  readonly console: string;
  /** Parameters of the kernel that every machine has. */
  readonly parameters: readonly string[];
}

export const architectures: Readonly<Record<ArchitectureName, Architecture>> = {
  'x86-64': {
    qemu: 'qemu-system-x86_64',
    qemuPackages: ['qemu-system-x86'],
    debian: 'amd64',
    machine: 'q35,kernel-irqchip=split',
    cpu: 'max',
    console: 'ttyS0',
    // On a busy host an emulated timer may miss the kernel's short test of it, which then panics.
    parameters: ['no_timer_check', 'iommu=nopt'],
  },
  arm64: {
    qemu: 'qemu-system-aarch64',
    qemuPackages: ['qemu-system-arm', 'ipxe-qemu'],
    debian: 'arm64',
    machine: 'virt,gic-version=3',
    // It has pages of 16 KiB, which a cortex-a72 has not.
    cpu: 'neoverse-n1',
    console: 'ttyAMA0',
    parameters: [],
  },
};
