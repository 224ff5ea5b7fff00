/** What a run may choose, by variables of the environment whose names begin with USERDMA_VM_. */

export type Setting =
  | 'ACCEL'
  | 'CACHE'
  | 'CPU'
  | 'IOMMU'
  | 'JOBS'
  | 'KERNEL'
  | 'LIMIT'
  | 'MACHINE'
  | 'MODULES'
  | 'NODE'
  | 'QEMU'
  | 'RESULTS'
  | 'ROOT';

/** An empty variable is one that is not set. */
export function setting(name: Setting): string | undefined {
  return process.env[`USERDMA_VM_${name}`] || undefined;
}
