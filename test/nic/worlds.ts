/** Where the NIC driver is tested: the simulation, or the device the virtual machine offers. */
import { simulateE1000e } from '../../examples/nic/model.ts';
import { openPci, type PciFunction } from '../../lib/index.ts';
import type { SimulateOptions } from '../../lib/sim/index.ts';
import { openFunction } from '../hardware.ts';

export interface NicWorld {
  readonly name: string;
  /** Whether packets take time, so that a ring can be full; QEMU's device sends them inside the write of the doorbell. */
  readonly takesTime: boolean;
  /** Packets worth sending. */
  readonly packets: number;
  open(): Promise<PciFunction>;
}

function simulation(what: string, packetTime: number, machine: SimulateOptions = {}): NicWorld {
  return {
    name: `${what}simulation`,
    takesTime: packetTime > 0,
    packets: 3000,
    open: () => openPci(simulateE1000e({ packetTime }, machine)),
  };
}

const address = process.env.USERDMA_TEST_NIC;

export const worlds: readonly NicWorld[] =
  address === undefined
    ? [
        simulation('', 0),
        simulation('slow ', 2),
        simulation('direct ', 2, { iommu: false }),
        simulation('incoherent ', 0, { coherent: false }),
      ]
    : [{ name: `vfio ${address}`, takesTime: false, packets: 3000, open: () => openFunction(address) }];
