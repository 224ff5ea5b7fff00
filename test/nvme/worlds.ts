/** Where the NVMe driver is tested: on the simulated controller, or on those that the virtual machine offers. */
import { NvmeController, type NvmeOptions } from '../../examples/nvme/controller.ts';
import type { Namespace } from '../../examples/nvme/namespace.ts';
import { type OpenPciOptions, openPci, type PciFunction } from '../../lib/index.ts';
import { type Fault, NvmeModel, type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { deviceOrSkip } from '../absent.ts';
import { isTranslated, openFunction } from '../hardware.ts';

export interface NvmeWorld {
  readonly name: string;
  /** Times that a random test goes round: under software emulation each takes long. */
  readonly rounds: number;
  /** A controller of the usual limits: 512 KiB a command. */
  open(options?: OpenPciOptions): Promise<PciFunction>;
  /** The same, and what it was not allowed to do, where that is known. */
  openWatched(): { readonly fn: Promise<PciFunction>; readonly faults?: readonly Fault[] };
  /** Whether an IOMMU keeps the controller to what is mapped. */
  readonly translated: boolean;
  /** Whether faults are in the kernel's log, which takes few. */
  readonly logged: boolean;
  /** A controller that takes 4 MiB in one command. */
  openLarge(): Promise<PciFunction>;
}

const address = process.env.USERDMA_TEST_NVME;

function hardware(first: string): NvmeWorld {
  return {
    name: `vfio ${first}`,
    rounds: 4,
    translated: isTranslated(first),
    logged: true,
    open: (options) => openFunction(first, options),
    openWatched: () => ({ fn: openFunction(first, { debug: { print: false } }) }),
    openLarge: async () => openFunction(deviceOrSkip('USERDMA_TEST_NVME_LARGE')),
  };
}

function simulation(what: string, options: SimulateOptions = {}, latency = 10): NvmeWorld {
  return {
    name: `${what}simulation`,
    rounds: 20,
    translated: options.iommu !== false,
    logged: false,
    open: (wanted) => openPci(simulate(new NvmeModel({ latency }), options), wanted),
    openWatched: () => {
      const source = simulate(new NvmeModel({ latency }), options);
      return { fn: openPci(source, { debug: { print: false } }), faults: source.faults };
    },
    openLarge: () => openPci(simulate(new NvmeModel({ latency, maxTransfer: 10 }), options)),
  };
}

export const worlds: readonly NvmeWorld[] =
  address === undefined
    ? [
        simulation(''),
        simulation('prompt ', {}, 0),
        simulation('direct ', { iommu: false }),
        simulation('direct incoherent ', { iommu: false, coherent: false }),
      ]
    : [hardware(address)];

export interface Opened extends AsyncDisposable {
  readonly nvme: NvmeController;
  readonly disk: Namespace;
}

/** The driver on a function, and its first namespace. */
export async function start(fn: Promise<PciFunction>, options: NvmeOptions = {}): Promise<Opened> {
  const nvme = await NvmeController.open(await fn, options);
  const [disk] = await nvme.namespaces();
  return { nvme, disk: disk!, [Symbol.asyncDispose]: () => nvme.close() };
}
