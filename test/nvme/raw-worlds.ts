/** Where a controller is driven by hand: the model in every kind of simulated machine, or QEMU's in the virtual machine. */
import { openPci, type PciFunction } from '../../lib/index.ts';
import { NvmeModel, type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { openFunction } from '../hardware.ts';

export interface RawWorld {
  readonly name: string;
  /** Whether this is the model: what QEMU does otherwise is left out, and what only the model reports is looked at. */
  readonly simulated: boolean;
  /** The major version of QEMU whose controller it is, or is made after. */
  readonly qemu: number;
  open(): Promise<PciFunction>;
}

function simulation(what: string, options: SimulateOptions = {}): RawWorld {
  return {
    name: `simulation, ${what}`,
    simulated: true,
    qemu: 7,
    open: () => openPci(simulate(new NvmeModel(), options)),
  };
}

const address = process.env.USERDMA_TEST_NVME;

export const rawWorlds: readonly RawWorld[] =
  address === undefined
    ? [
        simulation('IOMMU'),
        simulation('direct', { iommu: false }),
        simulation('incoherent', { coherent: false }),
        simulation('direct and incoherent', { iommu: false, coherent: false }),
      ]
    : [
        {
          name: `QEMU's at ${address}`,
          simulated: false,
          qemu: Number.parseInt(process.env.USERDMA_TEST_QEMU ?? '7', 10),
          open: () => openFunction(address),
        },
      ];
