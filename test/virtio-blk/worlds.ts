/** Where the virtio-blk driver is tested: simulations, or the disk the virtual machine offers. */
import { simulateVirtioBlk, type VirtioBlkModelOptions } from '../../examples/virtio-blk/model.ts';
import { openPci, type PciFunction } from '../../lib/index.ts';
import type { SimulateOptions } from '../../lib/sim/index.ts';

export interface VirtioBlkWorld {
  readonly name: string;
  readonly serial: string;
  open(): Promise<PciFunction>;
}

const MIB = 2 ** 20;

function simulation(
  what: string,
  model: VirtioBlkModelOptions = {},
  machine: SimulateOptions = {},
): VirtioBlkWorld {
  // One disk for all tests, as in the virtual machine.
  const source = simulateVirtioBlk({ capacity: 8 * MIB, ...model }, machine);
  return { name: `${what}simulation`, serial: 'simulated', open: () => openPci(source) };
}

const address = process.env.USERDMA_TEST_VIRTIO_BLK;

export const worlds: readonly VirtioBlkWorld[] =
  address === undefined
    ? [
        simulation(''),
        simulation('slow ', { latency: 20 }),
        simulation('small ', { queueSize: 4, latency: 5 }),
        simulation('incoherent ', { latency: 5 }, { coherent: false }),
        simulation('direct ', { latency: 5 }, { iommu: false }),
        simulation('bouncing ', {}, { pinsForeignMemory: false }),
      ]
    : [{ name: `vfio ${address}`, serial: 'vblk0', open: () => openPci(address) }];
