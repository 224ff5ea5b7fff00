/** Where the NVMe driver is tested: on the simulated controller, or on those that the virtual machine offers. */
import { NvmeController, type NvmeOptions } from '../../examples/nvme/controller.ts';
import type { Namespace } from '../../examples/nvme/namespace.ts';
import { type OpenPciOptions, openPci, type PciFunction } from '../../lib/index.ts';

export interface NvmeWorld {
  readonly name: string;
  /** Times that a random test goes round: under software emulation each takes long. */
  readonly rounds: number;
  /** A controller of the usual limits: 512 KiB a command. */
  open(options?: OpenPciOptions): Promise<PciFunction>;
  /** A controller that takes 4 MiB in one command. */
  openLarge(): Promise<PciFunction>;
}

const address = process.env.USERDMA_TEST_NVME;
const second = process.env.USERDMA_TEST_NVME_SECOND;

function hardware(first: string, large: string): NvmeWorld {
  return {
    name: `vfio ${first}`,
    rounds: 4,
    open: (options) => openPci(first, options),
    openLarge: () => openPci(large),
  };
}

export const worlds: readonly NvmeWorld[] =
  address === undefined || second === undefined ? [] : [hardware(address, second)];

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
