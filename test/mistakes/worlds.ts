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
  /** Whether the device is slow enough for races with it to show, which PCI Express lets it be. */
  readonly lagging: boolean;
  open(options: OpenOptions): Promise<PciFunction>;
}

/** @param transferTime simulated microseconds; 0: the device is done when the register write returns */
function simulation(name: string, options: SimulateOptions, dmaBits = 28, transferTime = 100_000): World {
  return {
    name: `${name} simulation`,
    dmaBits,
    simulated: true,
    translated: options.iommu !== false,
    coherent: options.coherent !== false,
    lagging: options.lag !== undefined,
    open: (how) => openPci(simulate(new EduModel({ dmaBits, transferTime }), options), how),
  };
}

function hardware(address: string): World {
  return {
    name: `vfio ${address}`,
    dmaBits: 28,
    simulated: false,
    translated: true,
    coherent: true,
    lagging: false,
    open: (how) => openPci(address, how),
  };
}

/** From a device that answers inside the register write to one that is slower than everything else. */
const LATENCIES = [0, 1, 30, 100_000, 1e9];

const edu = process.env.USERDMA_TEST_EDU;

export const WORLDS: readonly World[] =
  edu === undefined
    ? [
        simulation('coherent', {}),
        simulation('incoherent', { coherent: false }),
        simulation('direct', { iommu: false }),
        simulation('direct incoherent', { iommu: false, coherent: false }),
        simulation('direct, all of memory', { iommu: false }, 40),
        ...LATENCIES.flatMap((latency) =>
          [1, 2, 3].map((seed) =>
            simulation(`lagging, ${latency} us, seed ${seed},`, { lag: { seed } }, 28, latency),
          ),
        ),
        simulation('lagging incoherent', { coherent: false, lag: true }, 28, 0),
        simulation('lagging direct', { iommu: false, lag: true }, 40, 0),
      ]
    : [hardware(edu)];
