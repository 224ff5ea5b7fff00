/** Where the edu driver is tested: the simulation, or the devices the virtual machine offers. */
import { openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { isTranslated, openFunction } from '../hardware.ts';
import { design, missing, TARGETS, type Target } from '../rtl/designs.ts';
import { eduModel } from '../rtl/models.ts';

export interface EduWorld {
  readonly name: string;
  /** Address bits of the device's DMA engine. */
  readonly dmaBits: number;
  /** Transfers worth doing: QEMU's edu takes 100 ms for each. */
  readonly transfers: number;
  /** Interrupts worth counting. */
  readonly factorials: number;
  /** Allocations worth making: under software emulation each is two slow system calls. */
  readonly allocations: number;
  /** Whether an IOMMU keeps the device to what is mapped. */
  readonly translated: boolean;
  open(): Promise<PciFunction>;
}

const narrow = process.env.USERDMA_TEST_EDU;
const wide = process.env.USERDMA_TEST_EDU_WIDE;

function hardware(
  address: string,
  dmaBits: number,
  worth: Pick<EduWorld, 'transfers' | 'factorials' | 'allocations'>,
): EduWorld {
  return {
    name: `vfio ${address}, ${dmaBits} bits`,
    dmaBits,
    ...worth,
    translated: isTranslated(address),
    open: () => openFunction(address),
  };
}

function simulation(dmaBits: number, what = '', options: SimulateOptions = {}): EduWorld {
  const open = (): Promise<PciFunction> => openPci(simulate(new EduModel({ dmaBits }), options));
  const translated = options.iommu !== false;
  const name = `${what}simulation, ${dmaBits} bits`;
  return { name, dmaBits, transfers: 1000, factorials: 1000, allocations: 10_000, translated, open };
}

/** The same device in Verilog: slower by the clock, so that fewer transfers are worth doing. */
function rtl(target: Target, dmaBits: number, what: string, options: SimulateOptions = {}): EduWorld {
  const open = async (): Promise<PciFunction> => openPci(simulate(await eduModel(target, dmaBits), options));
  const translated = options.iommu !== false;
  const name = `RTL, ${target}${what}, ${dmaBits} bits`;
  return { name, dmaBits, transfers: 200, factorials: 200, allocations: 500, translated, open };
}

const designs: EduWorld[] = [];
if (missing === undefined) {
  for (const target of TARGETS) {
    // Built before the first test begins: no test waits for a compiler.
    await design('edu', target);
    designs.push(
      rtl(target, 28, ''),
      rtl(target, 40, ', direct, incoherent', { iommu: false, coherent: false }),
    );
  }
} else console.log(`edu in RTL is skipped: ${missing}`);

const simulations: readonly EduWorld[] = [
  ...designs,
  simulation(28),
  simulation(32),
  simulation(40),
  simulation(28, 'direct ', { iommu: false }),
  simulation(40, 'direct ', { iommu: false }),
  simulation(28, 'incoherent ', { coherent: false }),
  simulation(28, 'direct incoherent ', { iommu: false, coherent: false }),
];

export const worlds: readonly EduWorld[] =
  narrow === undefined
    ? simulations
    : [
        hardware(narrow, isTranslated(narrow) ? 28 : 40, {
          transfers: 60,
          factorials: 1000,
          allocations: 10_000,
        }),
        ...(wide === undefined
          ? []
          : [hardware(wide, 40, { transfers: 10, factorials: 100, allocations: 500 })]),
      ];
