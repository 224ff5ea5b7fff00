/** Where the edu driver is tested: the simulation, or the devices the virtual machine offers. */
import { openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';

export interface EduWorld {
  readonly name: string;
  /** Address bits of the device's DMA engine. */
  readonly dmaBits: number;
  /** Transfers worth doing: QEMU's edu takes 100 ms for each. */
  readonly transfers: number;
  open(): Promise<PciFunction>;
}

const narrow = process.env['USERDMA_TEST_EDU'];
const wide = process.env['USERDMA_TEST_EDU_WIDE'];

function hardware(address: string, dmaBits: number, transfers: number): EduWorld {
  return { name: `vfio ${address}, ${dmaBits} bits`, dmaBits, transfers, open: () => openPci(address) };
}

function simulation(dmaBits: number): EduWorld {
  const open = (): Promise<PciFunction> => openPci(simulate(new EduModel({ dmaBits })));
  return { name: `simulation, ${dmaBits} bits`, dmaBits, transfers: 1000, open };
}

export const worlds: readonly EduWorld[] =
  narrow === undefined
    ? [simulation(28), simulation(32), simulation(40)]
    : [hardware(narrow, 28, 60), ...(wide === undefined ? [] : [hardware(wide, 32, 10)])];
