/**
 * Checks after each test: no function is left open, and dma-debug has no reports. The machines are hard on the
 * driver.
 */
import { checkFunction, checkOptions, options as optionsOf } from '../arguments.ts';
import type { PciFunction } from '../pci/function.ts';
import { observeOpened } from '../pci/open.ts';
import { setMachineDefaults } from '../sim/defaults.ts';
import { SIMULATE_CHECKS, type SimulateOptions } from '../sim/options.ts';
import { describeReports, failure, reportsOf } from './reports.ts';

/**
 * `afterEach` of vitest, of node:test, or any function that runs a hook after each test and fails the test on its
 * error.
 */
export type AfterEach = (hook: () => void) => unknown;

/**
 * A machine that does everything that hardware may do to a driver, although few real machines do it: the device lags,
 * addresses are above 4 GiB if the mask allows that, and the program's own memory starts near the end of a page.
 */
export const HARD_MACHINE: SimulateOptions = { lag: true, forceDac: true, foreignPageOffset: 4080 };

/** Options of `checkDmaAfterEach`. */
export interface DmaCheckOptions {
  /**
   * The machine that `simulate` makes in this file from now on, unless its own options differ. Default:
   * `HARD_MACHINE`. `{}` gives the machine that `simulate` makes without this check.
   */
  readonly machine?: SimulateOptions;
}

/** What `checkDmaAfterEach` returns. */
export interface DmaCheck {
  /**
   * Let a function stay open from test to test, e.g. one that `beforeAll` opened. The check then looks only at its
   * reports. Close it yourself. Returns `fn`.
   */
  share<T extends PciFunction>(fn: T): T;
}

/**
 * Makes a test fail if it leaves a function open, or if dma-debug has reports of its functions, closed ones included.
 * A function that a test leaves open is closed, so that the next test can open it. If a function was opened without
 * debugging, the check only looks if it is closed. Call this once per file, before the tests. The tests must not run
 * concurrently, because all of them share the open functions of the process. Machines that are simulated from then on
 * are hard on the driver, see `DmaCheckOptions`.
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

/** The problems of a function after a test. It closes the function and forgets its reports. */
function check(fn: PciFunction, mayBeOpen: boolean): string[] {
  const isLeaked = !mayBeOpen && !fn.closed;
  const problems = isLeaked ? closeLeaked(fn) : [];
  const { debug } = fn.dma;
  if (debug === undefined) return problems;
  // All that a driver has is pending when it is left open: that is told once.
  const reports = reportsOf(debug).filter(({ kind }) => !isLeaked || kind !== 'pending-at-close');
  if (reports.length > 0) problems.push(describeReports(fn.dma.name, debug, reports));
  debug.clear();
  return problems;
}

function closeLeaked(fn: PciFunction): string[] {
  const { address } = fn;
  const { live, debug } = fn.dma;
  const held = live.length;
  const kind = debug !== undefined && debug.entries.used > 0 ? 'pending-at-close: ' : '';
  const what = `${address} is still open after the test, with ${held} ${held === 1 ? 'allocation' : 'allocations'}`;
  const problems = [`${kind}${what}: close it, or declare it with \`using\``];
  try {
    fn.close();
  } catch (error) {
    problems.push(`closing ${address} failed: ${String(error)}`);
  }
  return problems;
}
