/** An edu device that can be pulled out: simulated, or in a slot of the virtual machine. */
import { type OpenPciOptions, openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { openFunction } from '../hardware.ts';
import { holdings } from '../vm/holdings.ts';
import { type Pluggable, pullOut, putBack } from '../vm/hotplug.ts';
import { Monitor } from '../vm/monitor.ts';

export interface PluggedWorld {
  readonly name: string;
  open(options?: OpenPciOptions): Promise<PciFunction>;
  /** The system asks for the device and takes it; resolves when the slot is empty. */
  pullOut(): Promise<void>;
  /** Back, and ready to be opened. */
  putBack(): Promise<void>;
  /** What the process holds of the system: the same before and after means that nothing is left. */
  held(): unknown;
  close(): void;
}

const address = process.env.USERDMA_TEST_EDU_PLUGGED;

export async function openWorld(): Promise<PluggedWorld> {
  return address === undefined ? simulation() : hardware(address);
}

function simulation(): PluggedWorld {
  const source = simulate(new EduModel({ dmaBits: 32 }));
  return {
    name: 'simulation',
    open: (options) => openPci(source, options),
    async pullOut() {
      await source.requestRelease();
      source.unplug();
    },
    async putBack() {
      source.plugIn();
    },
    held: () => 0,
    close: () => {},
  };
}

async function hardware(where: string): Promise<PluggedWorld> {
  const monitor = await Monitor.open();
  const device: Pluggable = {
    address: where,
    id: 'edu0',
    properties: { driver: 'edu', bus: 'port8', dma_mask: 0xffff_ffff },
  };
  return {
    name: `vfio ${where}`,
    open: (options) => openFunction(where, options),
    pullOut: () => pullOut(monitor, device),
    putBack: () => putBack(monitor, device),
    held: holdings,
    close: () => monitor.close(),
  };
}
