/** The settings in which the kernel is compared with the library: what the machine was booted with, and the same here. */
import type { IovaRange } from '../../lib/iommu/address-space.ts';

export interface Setting {
  readonly name: string;
  /** True if the device is behind an IOMMU that translates. */
  readonly translated: boolean;
  /** True if all memory is bounced. */
  readonly forced: boolean;
  /** Bits of the masks at the start. */
  readonly bits: number;
  /** From how many bytes on the library maps foreign memory in place. */
  readonly copybreak: number;
}

const translated = { translated: true, forced: false };
const direct = { translated: false, forced: false };

/**
 * By the name of the machine (test/vm/machine.ts). Behind an IOMMU the library copies short memory by default, where
 * the kernel maps all memory of a device that it trusts in place. So both are compared: once everything is mapped in
 * place as in the kernel, once the library does as it does by default. The former is last, because it ends with all
 * addresses in use (edges.ts).
 */
const settings: Readonly<Record<string, readonly Setting[]>> = {
  'oracle-translated': [
    { ...translated, name: 'translated', bits: 64, copybreak: 32 * 1024 },
    { ...translated, name: 'translated, all in place', bits: 64, copybreak: 0 },
  ],
  'oracle-28-bit': [
    { ...translated, name: '28 bits', bits: 28, copybreak: 32 * 1024 },
    { ...translated, name: '28 bits, all in place', bits: 28, copybreak: 0 },
  ],
  'oracle-passthrough': [{ ...direct, name: 'passthrough', bits: 64, copybreak: 0 }],
  'oracle-swiotlb': [{ ...direct, name: 'swiotlb=force', bits: 64, copybreak: 0, forced: true }],
};

export function settingsOf(machine: string): readonly Setting[] {
  return settings[machine] ?? [];
}

/** The machine that the library is simulated in. Without an IOMMU it has the memory of the machine that it runs on. */
export function simulation({ translated }: Setting, memory: readonly IovaRange[]) {
  // The module's buffers start on a page, and so do the library's here.
  const common = { foreignPageOffset: 0, lag: false, forceDac: false };
  return translated ? common : { ...common, iommu: false, ranges: memory };
}
