/** The test bench: a core built in one way, in a machine of one kind, with its streams looped back. */
import { AxiDma, type AxiDmaOptions } from '../../examples/axi-dma/driver.ts';
import { type AxiDmaModelOptions, simulateAxiDma } from '../../examples/axi-dma/model.ts';
import { openPci, type PciFunction } from '../../lib/index.ts';
import type { RtlModel } from '../../lib/rtl/index.ts';
import type { SimulatedSource, SimulateOptions } from '../../lib/sim/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { expectNoDmaErrors } from '../../lib/testing/index.ts';
import { assert } from '../harness.ts';
import { design, missing, TARGETS, type Target } from '../rtl/designs.ts';
import { axiDmaModel, type Behaviour } from '../rtl/models.ts';

export { fails, machines, pattern, seed } from './machines.ts';

/** The core as the block design has it: what the model and the driver both have to know. */
export type Core = Pick<AxiDmaModelOptions, 'scatterGather' | 'addressBits' | 'lengthBits' | 'alignment'> & {
  /** The core in Verilog instead of the model, and how it runs. */
  readonly rtl?: Target;
};

export interface Bench extends Disposable {
  readonly axi: AxiDma;
  readonly fn: PciFunction;
  readonly source: SimulatedSource<ReturnType<typeof simulateAxiDma>['model'] | RtlModel>;
}

export interface BenchOptions {
  readonly core?: Core & AxiDmaModelOptions;
  readonly machine?: SimulateOptions;
  readonly driver?: AxiDmaOptions;
  /** Which interrupts: a message for each channel, or the one line for both. */
  readonly line?: boolean;
  readonly Driver?: typeof AxiDma;
  /** Of the interconnect around the core in Verilog. */
  readonly behaviour?: Behaviour;
}

/** Power up, open, load the driver. */
export async function bench(options: BenchOptions = {}): Promise<Bench> {
  const { core = {}, machine = {}, driver = {}, line = false, Driver = AxiDma, behaviour } = options;
  const { addressBits = 32, lengthBits = 14, alignment = 1 } = core;
  const { rtl, ...model } = core;
  const source =
    rtl === undefined
      ? simulateAxiDma(model, machine)
      : simulate(await axiDmaModel(rtl, model, behaviour), machine);
  const fn = await openPci(source, { debug: { print: false } });
  fn.setMaster();
  const interrupts = line
    ? { mm2s: fn.interrupts.intx(), s2mm: fn.interrupts.intx() }
    : { mm2s: fn.interrupts.msi(0), s2mm: fn.interrupts.msi(1) };
  const parts = { registers: fn.bar(0), interrupts, dma: fn.dma };
  const axi = new Driver(parts, { addressBits, lengthBits, alignment, ...driver });
  const close = (): void => {
    axi.close();
    fn.close();
  };
  return { axi, fn, source, [Symbol.dispose]: close };
}

/** Send `from` and receive it into `to`, which is as long or longer. @returns bytes received */
export async function loopback(axi: AxiDma, from: Uint8Array, to: Uint8Array): Promise<number> {
  const [received] = await Promise.all([axi.s2mm.receive(to), axi.mm2s.send(from)]);
  return received;
}

/** Close everything, and see that nothing was wrong on the way: no fault, no mistake, nothing left behind. */
export function clean(run: Bench): void {
  run[Symbol.dispose]();
  assert.deepEqual(run.source.faults, []);
  expectNoDmaErrors(run.fn);
}

/** Ways to have the core in Verilog; none where it cannot be built. Built before the first test begins. */
export const rtlTargets: readonly Target[] = missing === undefined ? TARGETS : [];
for (const target of rtlTargets) await design('axi-dma', target);
if (missing !== undefined) console.log(`the AXI DMA in RTL is skipped: ${missing}`);

const rtlCores = rtlTargets.flatMap((rtl) => [
  { name: `RTL, ${rtl}, scatter-gather, 32 bits`, core: { rtl, scatterGather: true } },
  {
    name: `RTL, ${rtl}, direct registers, 40 bits`,
    core: { rtl, scatterGather: false, addressBits: 40, lengthBits: 23 },
  },
]);

export const cores: readonly { readonly name: string; readonly core: Core }[] = [
  ...rtlCores,
  { name: 'scatter-gather, 32 bits', core: { scatterGather: true } },
  { name: 'scatter-gather, 64 bits', core: { scatterGather: true, addressBits: 64, lengthBits: 26 } },
  { name: 'direct registers, 32 bits', core: { scatterGather: false, lengthBits: 20 } },
  { name: 'direct registers, 40 bits', core: { scatterGather: false, addressBits: 40, lengthBits: 23 } },
];
