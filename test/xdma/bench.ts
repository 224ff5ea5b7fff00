/** The test bench: a core built in one way, in a machine of one kind, with the driver loaded. */
import { Xdma, type XdmaOptions } from '../../examples/xdma/driver.ts';
import { simulateXdma, type XdmaModel, type XdmaModelOptions } from '../../examples/xdma/model.ts';
import { openPci, type PciFunction } from '../../lib/index.ts';
import type { SimulatedSource, SimulateOptions } from '../../lib/sim/index.ts';
import { expectNoDmaErrors } from '../../lib/testing/index.ts';
import { assert } from '../harness.ts';

export { fails, machines, pattern, seed } from '../axi-dma/machines.ts';

export interface Bench extends AsyncDisposable {
  readonly xdma: Xdma;
  readonly fn: PciFunction;
  readonly source: SimulatedSource<XdmaModel>;
}

export interface BenchOptions {
  readonly core?: XdmaModelOptions;
  readonly machine?: SimulateOptions;
  readonly driver?: XdmaOptions;
}

/** Power up, open, load the driver. */
export async function bench({ core, machine, driver }: BenchOptions = {}): Promise<Bench> {
  const source = simulateXdma(core, machine);
  const fn = await openPci(source, { debug: { print: false } });
  const xdma = await Xdma.open(fn, driver);
  return { xdma, fn, source, [Symbol.asyncDispose]: () => xdma.close() };
}

/** Close everything, and see that nothing was wrong on the way: no fault, no mistake, nothing left behind. */
export async function clean({ xdma, fn, source }: Bench): Promise<void> {
  await xdma.close();
  assert.deepEqual(source.faults, []);
  expectNoDmaErrors(fn);
}

export const cores: readonly { readonly name: string; readonly core: XdmaModelOptions }[] = [
  { name: 'one channel', core: {} },
  { name: 'four channels', core: { channels: 4 } },
  { name: 'registers in BAR 0, MSI', core: { axiLite: false, interrupts: 'msi' } },
  { name: 'INTx', core: { channels: 2, interrupts: 'intx' } },
  { name: '36 address bits', core: { addressBits: 36 } },
];

export const completions = ['interrupt', 'poll'] as const;
