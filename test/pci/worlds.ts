/** The functions that PCI itself is tested on: those of the virtual machine, or simulated ones of the same kind. */
import { openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { nicLike, nvmeLike } from './models.ts';

export interface TestFunction {
  readonly name: string;
  open(): Promise<PciFunction>;
}

const hardware = process.env.USERDMA_TEST_NVME !== undefined;

/** Whether the functions are real ones, behind VFIO. */
export const real = hardware;

function choose(variable: string, name: string, simulated: () => Promise<PciFunction>): TestFunction {
  const address = process.env[variable];
  return hardware
    ? { name: `${name} at ${String(address)}`, open: () => openPci(address!) }
    : { name: `simulated ${name}`, open: simulated };
}

/** PCI Express: function-level reset, D3hot keeps registers, MSI-X table among the registers, no ROM. */
export const nvme = choose('USERDMA_TEST_NVME', 'NVMe', () => openPci(simulate(nvmeLike())));
/** PCI Express: I/O BAR, sub-page BAR, ROM, error reporting; D3hot loses registers. */
export const nic = choose('USERDMA_TEST_NIC', 'e1000e', () => openPci(simulate(nicLike())));
/** Conventional: no reset and no power states, one MSI vector and INTx. */
export const edu = choose('USERDMA_TEST_EDU', 'edu', () => openPci(simulate(new EduModel())));
