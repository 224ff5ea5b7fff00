/** After each test: nothing left open, nothing reported, on machines that are hard on the driver. */
import { checkFunction, checkOptions, options as optionsOf } from '../arguments.ts';
import type { PciFunction } from '../pci/function.ts';
import { observeOpened } from '../pci/open.ts';
import { setMachineDefaults } from '../sim/defaults.ts';
import { SIMULATE_CHECKS, type SimulateOptions } from '../sim/simulate.ts';
import { describeReports, failure, reportsOf } from './reports.ts';

/** `afterEach` of vitest, of node:test, or of anything that runs a function after each test and fails on its error. */
export type AfterEach = (hook: () => void) => unknown;

/**
 * A machine that does everything that hardware may do to a driver, and that few machines do: the device lags, addresses
 * are above 4 GiB where the mask has them, and the program's own memory starts near the end of a page.
 */
export const HARD_MACHINE: SimulateOptions = { lag: true, forceDac: true, foreignPageOffset: 4080 };

export interface DmaCheckOptions {
  /**
   * What `simulate` makes in this file from now on, where it is not told otherwise. Default: `HARD_MACHINE`; `{}` is
   * the machine that `simulate` makes by itself.
   */
  readonly machine?: SimulateOptions;
}

export interface DmaCheck {
  /**
   * Let a function stay open from test to test, e.g. one that `beforeAll` opened: it is only checked for reports. Close
   * it yourself. Returns `fn`.
   */
  share<T extends PciFunction>(fn: T): T;
}

/**
 * Fail each test that leaves a function open (it is closed then, so that the next test can have it) or whose functions
 * have reports of dma-debug, closed ones included. Functions opened without debugging are only checked for being
 * closed. Call it once per file, before the tests; they must not run concurrently, since what is open is one per
 * process. Machines that are simulated from then on are hard on the driver, see `DmaCheckOptions`.
 *
 *     import { afterEach } from 'vitest'; // or 'node:test'
 *     checkDmaAfterEach(afterEach);
 */
export function checkDmaAfterEach(afterEach: AfterEach, options: DmaCheckOptions = {}): DmaCheck {
  checkFunction(afterEach, 'afterEach');
  checkOptions<DmaCheckOptions>(options, 'checkDmaAfterEach', { machine: optionsOf(SIMULATE_CHECKS) });
  setMachineDefaults(options.machine ?? HARD_MACHINE);
  const opened = new Set<PciFunction>();
  const shared = new Set<PciFunction>();
  observeOpened((fn) => opened.add(fn));
  afterEach(function checkDma() {
    const problems = [...opened].flatMap((fn) => check(fn, shared.has(fn)));
    opened.clear();
    for (const fn of shared) {
      if (fn.closed) shared.delete(fn);
      else opened.add(fn);
    }
    if (problems.length > 0) throw failure(problems.join('\n\n'), checkDma);
  });
  return {
    share: (fn) => {
      shared.add(fn);
      opened.add(fn);
      return fn;
    },
  };
}

/** What is wrong with a function after a test. It is closed and its reports are forgotten afterwards. */
function check(fn: PciFunction, mayBeOpen: boolean): string[] {
  const problems = mayBeOpen || fn.closed ? [] : closeLeaked(fn);
  const { debug } = fn.dma;
  if (debug === undefined) return problems;
  const reports = reportsOf(debug);
  if (reports.length > 0) problems.push(describeReports(fn.dma.name, debug, reports));
  debug.clear();
  return problems;
}

function closeLeaked(fn: PciFunction): string[] {
  const { address } = fn;
  const held = fn.dma.live.length;
  const what = `${address} is still open after the test, with ${held} ${held === 1 ? 'allocation' : 'allocations'}`;
  const problems = [`${what}: close it, or declare it with \`using\``];
  try {
    fn.close();
  } catch (error) {
    problems.push(`closing ${address} failed: ${String(error)}`);
  }
  return problems;
}
