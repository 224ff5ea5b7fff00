/** The IOMMUs that QEMU emulates, as data: the device and the kernel's parameters. */

export type IommuName = 'intel' | 'intel-scalable' | 'amd' | 'virtio' | 'smmuv3' | 'none';

export interface Iommu {
  /** QEMU's `-device` text, if it is a device. */
  readonly device?: string;
  /** The same from a major version of QEMU on that has other names. */
  readonly renamed?: { readonly since: number; readonly device: string };
  /** What QEMU's `-machine` gets, if it is a part of the board. */
  readonly board?: string;
  readonly parameters: readonly string[];
}

export const iommus: Readonly<Record<IommuName, Iommu>> = {
  intel: { device: 'intel-iommu,intremap=on,caching-mode=on', parameters: ['intel_iommu=on'] },
  'intel-scalable': {
    device: 'intel-iommu,intremap=on,caching-mode=on,x-scalable-mode=on,aw-bits=48',
    // There it is no experiment any more.
    renamed: { since: 11, device: 'intel-iommu,intremap=on,caching-mode=on,scalable-mode=on,aw-bits=48' },
    parameters: ['intel_iommu=on,sm_on'],
  },
  amd: { device: 'amd-iommu,intremap=on', parameters: ['intel_iommu=off'] },
  virtio: {
    device: 'virtio-iommu-pci,addr=0x1e',
    parameters: [
      'intel_iommu=off',
      // Must be there before the first driver of a device behind it.
      'EARLY_MODULES=virtio-iommu',
      // Behind it no interrupts are remapped: VFIO refuses that unless it is told that this is fine.
      'vfio_iommu_type1.allow_unsafe_interrupts=1',
    ],
  },
  smmuv3: { board: 'iommu=smmuv3', parameters: ['iommu.passthrough=0'] },
  none: { parameters: ['intel_iommu=off'] },
};

/** What a QEMU of that version takes as `-device`. */
export function deviceOf(name: IommuName, qemuVersion: string): string | undefined {
  const { device, renamed } = iommus[name];
  return renamed !== undefined && Number.parseInt(qemuVersion, 10) >= renamed.since ? renamed.device : device;
}

export function isIommu(name: string): name is IommuName {
  return Object.hasOwn(iommus, name);
}
