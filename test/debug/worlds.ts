/** The worlds in which dma-debug is tested: simulations, or the first device of the virtual machine. */
import {
  type DebugOptions,
  type DmaDevice,
  type DmaReport,
  openPci,
  type PciFunction,
} from '../../lib/index.ts';
import { EduModel, type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { assert } from '../harness.ts';

export interface DebugWorld {
  readonly name: string;
  /** True if there is an IOMMU. */
  readonly translated: boolean;
  readonly coherent: boolean;
  open(debug?: DebugOptions): Promise<PciFunction>;
}

const QUIET: DebugOptions = { print: false };

function simulation(name: string, options: SimulateOptions = {}): DebugWorld {
  return {
    name: `simulated, ${name}`,
    translated: options.iommu !== false,
    coherent: options.coherent !== false,
    open: (debug) => openPci(simulate(new EduModel(), options), { debug: { ...QUIET, ...debug } }),
  };
}

function hardware(address: string): DebugWorld {
  return {
    name: `${process.env.USERDMA_VM ?? 'vfio'}, type1`,
    translated: true,
    coherent: true,
    open: async (debug) => {
      const fn = await openPci(address, { debug: { ...QUIET, ...debug } });
      // dma-debug reports a real function that never was a bus master when it is closed.
      fn.setMaster();
      return fn;
    },
  };
}

const edu = process.env.USERDMA_TEST_EDU;

export const worlds: readonly DebugWorld[] =
  edu === undefined
    ? [
        simulation('IOMMU'),
        simulation('IOMMU, incoherent', { coherent: false }),
        simulation('direct', { iommu: false }),
        simulation('direct, incoherent', { iommu: false, coherent: false }),
      ]
    : [hardware(edu)];

/** The kinds of all reports, oldest first. */
export function kinds({ debug }: DmaDevice): string[] {
  return debug!.reports.map(({ kind }) => kind);
}

/** The report of a device. The assertion fails unless there is exactly one. */
export function onlyReport({ debug }: DmaDevice): DmaReport {
  const { reports } = debug!;
  assert.deepEqual(
    reports.map(({ kind, message }) => `${kind}: ${message}`),
    [`${reports[0]?.kind}: ${reports[0]?.message}`],
    'one report and no more',
  );
  return reports[0]!;
}

/** Asserts that the first frame of a stack is in `file`. */
export function startsHere(stack: string | undefined, file: string): void {
  const first = stack?.split('\n')[0] ?? String(stack);
  const name = new URL(file).pathname
    .split('/')
    .at(-1)!
    .replace(/\.[jt]s$/, '');
  assert.match(first, new RegExp(`${name.replaceAll('.', '\\.')}\\.[jt]s:\\d+:\\d+`));
}
