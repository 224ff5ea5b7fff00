/** Three edu devices: two functions of one IOMMU group, and one in another. Simulated, or those of the virtual machine. */
import { writeFile } from 'node:fs/promises';
import { type OpenPciOptions, openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, type SimulatedSource, simulate } from '../../lib/sim/index.ts';
import { device } from '../vm/devices.ts';
import { holdings } from '../vm/holdings.ts';
import { bindVfio } from '../vm/hotplug.ts';

export type Member = 'first' | 'twin' | 'other';

/** Address bits of their DMA engines. */
export const DMA_BITS: Readonly<Record<Member, number>> = { first: 28, twin: 28, other: 40 };

export interface Trio {
  readonly name: string;
  /** Random operations worth doing. */
  readonly operations: number;
  /** Whether every access of the device is seen. */
  readonly simulated: boolean;
  open(member: Member, options?: OpenPciOptions): Promise<PciFunction>;
  /** The system takes the function from its driver, and from no other. */
  takeAway(member: Member): Promise<void>;
  /** The function can be opened again. */
  putBack(member: Member): Promise<void>;
  /** Mistakes of the devices: accesses that they may not do. */
  faults(): readonly unknown[];
  /** What the process holds of the system. */
  held(): unknown;
}

export function newTrio(): Trio {
  return process.env.USERDMA_TEST_EDU_TWIN === undefined ? simulation() : hardware();
}

function simulation(): Trio {
  const first = simulate(new EduModel({ dmaBits: DMA_BITS.first }), { address: '0000:00:10.0' });
  const twin = simulate(new EduModel({ dmaBits: DMA_BITS.twin }), {
    address: '0000:00:10.1',
    group: first.group,
  });
  const other = simulate(new EduModel({ dmaBits: DMA_BITS.other }), { address: '0000:00:11.0' });
  const sources: Readonly<Record<Member, SimulatedSource>> = { first, twin, other };
  return {
    name: 'simulation',
    operations: 5000,
    simulated: true,
    open: (member, options) => openPci(sources[member], options),
    // The function stays in its slot: pulling it out would pull out its twin, too.
    takeAway: (member) => sources[member].requestRelease(),
    putBack: async () => {},
    faults: () => Object.values(sources).flatMap(({ faults }) => faults),
    held: () => 0,
  };
}

function hardware(): Trio {
  const addresses: Readonly<Record<Member, string>> = {
    first: device('USERDMA_TEST_EDU'),
    twin: device('USERDMA_TEST_EDU_TWIN'),
    other: device('USERDMA_TEST_EDU_WIDE'),
  };
  return {
    name: 'vfio',
    operations: 300,
    simulated: false,
    open: (member, options) => openPci(addresses[member], options),
    // The same request as at an unplugging. In a thread: it ends when the function is let go.
    takeAway: (member) =>
      writeFile(`/sys/bus/pci/devices/${addresses[member]}/driver/unbind`, addresses[member]),
    putBack: (member) => bindVfio(addresses[member]),
    faults: () => [],
    held: holdings,
  };
}
