/** Where drivers are watched: the simulation in its flavours, or the device of the virtual machine. */
import { type OpenOptions, openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, type SimulateOptions, simulate } from '../../lib/sim/index.ts';

export interface World {
  readonly name: string;
  /** Address bits of the device. */
  readonly dmaBits: number;
  readonly simulated: boolean;
  /** Whether there is an IOMMU. */
  readonly translated: boolean;
  readonly coherent: boolean;
  open(options: OpenOptions): Promise<PciFunction>;
}

function simulation(name: string, options: SimulateOptions, dmaBits = 28): World {
  return {
    name: `${name} simulation`,
    dmaBits,
    simulated: true,
    translated: options.iommu !== false,
    coherent: options.coherent !== false,
    open: (how) => openPci(simulate(new EduModel({ dmaBits }), options), how),
  };
}

function hardware(address: string): World {
  return {
    name: `vfio ${address}`,
    dmaBits: 28,
    simulated: false,
    translated: true,
    coherent: true,
    open: (how) => openPci(address, how),
  };
}

const edu = process.env.USERDMA_TEST_EDU;

export const WORLDS: readonly World[] =
  edu === undefined
    ? [
        simulation('coherent', {}),
        simulation('incoherent', { coherent: false }),
        simulation('direct', { iommu: false }),
        simulation('direct incoherent', { iommu: false, coherent: false }),
        simulation('direct, all of memory', { iommu: false }, 40),
      ]
    : [hardware(edu)];
