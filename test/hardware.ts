/** Functions of the virtual machine: through VFIO, with an IOMMU or without one, as the machine has it. */
import {
  type OpenPciOptions,
  openPci,
  openPciUnsafe,
  type PciFunction,
  PhysicalHugepages,
} from '../lib/index.ts';
import { readFacts } from '../lib/pci/facts.ts';

/** Whether an IOMMU keeps the function to what is mapped. */
export function isTranslated(address: string): boolean {
  return readFacts(address).noIommuGroup === undefined;
}

export function openFunction(address: string, options: OpenPciOptions = {}): Promise<PciFunction> {
  if (isTranslated(address)) return openPci(address, options);
  const { streaming, debug = false } = options;
  return openPciUnsafe(address, {
    memory: new PhysicalHugepages(),
    debug,
    ...(streaming === undefined ? {} : { streaming }),
  });
}
