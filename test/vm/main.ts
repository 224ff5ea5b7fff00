/**
 * The virtual machine from the command line.
 *
 *   main.js run CMD...       runs CMD in this checkout inside the default machine and ends with its exit status
 *   main.js test [FILTER...] runs the guest tests on every machine that has some
 *
 * Exit status: the command's; 1 when a test failed; 124 when the time limit was reached; 125 when the machine died
 * or could not be started.
 */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prepareInitrd } from './initrd.ts';
import { findKernel } from './kernel.ts';
import { defaultMachine } from './machine.ts';
import type { ReportLine, Result } from './reporter.ts';
import { explain, guestShare, type Job, type Outcome, run } from './run.ts';
import { SetupError } from './setup-error.ts';
import { findSuites, type Suite } from './suites.ts';

const here = dirname(fileURLToPath(import.meta.url));
const checkout = process.cwd();

type Counts = Record<Result, number>;

/** Seconds from USERDMA_VM_LIMIT, or `fallback`. */
function timeLimit(fallback: number): number {
  const text = process.env.USERDMA_VM_LIMIT ?? '';
  const seconds = text === '' ? fallback : Number(text);
  if (!(seconds > 0)) throw new SetupError(`USERDMA_VM_LIMIT=${text}: a number of seconds is needed`);
  return seconds;
}

/** The guest's environment: made anew, so that it is the same on every host. */
function guestEnvironment(): Record<string, string> {
  const passed = Object.entries(process.env).filter(
    ([name]) => name.startsWith('USERDMA_') && !name.startsWith('USERDMA_VM'),
  );
  const path = [dirname(process.execPath), process.env.PATH ?? ''].join(delimiter);
  return {
    ...Object.fromEntries(passed.map(([name, value]) => [name, value ?? ''])),
    ...{ PATH: path, HOME: '/tmp', LANG: 'C.UTF-8', npm_config_update_notifier: 'false' },
    ...(process.stdout.isTTY ? { FORCE_COLOR: '1', COLUMNS: String(process.stdout.columns) } : {}),
  };
}

type Host = Pick<Job, 'kernel' | 'initrd' | 'folder' | 'environment'>;

function prepare(): Host {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new SetupError('the virtual machine needs a Linux host on x86-64, whose programs it runs');
  }
  const init = join(checkout, 'test/vm/init.sh');
  if (!existsSync(init)) throw new SetupError(`${init} not found: start this from the checkout`);
  const cache = resolve(process.env.USERDMA_VM_CACHE || join(homedir(), '.cache/userdma'));
  const kernel = findKernel(cache);
  const initrd = prepareInitrd(kernel, init, cache);
  return { kernel: kernel.image, initrd, folder: checkout, environment: guestEnvironment() };
}

function exitStatus(outcome: Outcome): number {
  if (outcome.kind === 'exited') return outcome.status;
  return outcome.kind === 'timeout' ? 124 : 125;
}

async function runCommand(command: readonly string[]): Promise<number> {
  if (command.length === 0) throw new SetupError('nothing to run; example: npm run vm -- npm start -- edu');
  const outcome = await run({ ...prepare(), machine: defaultMachine, command, limit: timeLimit(600) });
  if (outcome.kind !== 'exited') console.error(explain(outcome));
  return exitStatus(outcome);
}

function readReport(path: string): ReportLine[] {
  const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : [];
  return lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as ReportLine];
    } catch {
      return []; // cut off where the guest died
    }
  });
}

function count(report: readonly ReportLine[]): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const line of report) if ('result' in line) counts[line.result]++;
  return counts;
}

function testCommand(files: readonly string[]): string[] {
  const reporters = [
    ['spec', 'stdout'],
    [join(here, 'reporter.js'), `${guestShare}/report`],
  ].flatMap(([name, to]) => [`--test-reporter=${name}`, `--test-reporter-destination=${to}`]);
  return [process.execPath, '--test', '--test-concurrency=1', ...reporters, ...files];
}

async function runSuite(host: Host, { machine, files }: Suite): Promise<Counts> {
  console.log(`vm: ${files.length} test file${files.length === 1 ? '' : 's'} on machine ${machine.name}`);
  let report: ReportLine[] = [];
  const collect = (share: string) => {
    report = readReport(join(share, 'report'));
  };
  const outcome = await run({
    ...host,
    machine,
    command: testCommand(files),
    limit: timeLimit(240),
    collect,
  });
  const counts = count(report);
  const complete = report.some((line) => 'end' in line);
  // A run without an end, or with an exit status nobody accounts for, is one failure more.
  const unexplained = !complete || (exitStatus(outcome) !== 0 && counts.failed === 0);
  if (unexplained) counts.failed++;
  if (outcome.kind !== 'exited' || unexplained) console.error(explain(outcome));
  console.log(`vm: ${machine.name}: ${summary(counts)} in ${outcome.seconds.toFixed(1)} s`);
  return counts;
}

function summary({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

async function runTests(filters: readonly string[]): Promise<number> {
  const suites = findSuites(dirname(here), filters);
  if (suites.length === 0) throw new SetupError(`no test file matches ${filters.join(' ')}`);
  const host = prepare();
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const suite of suites) {
    const counts = await runSuite(host, suite);
    for (const result of Object.keys(total) as Result[]) total[result] += counts[result];
  }
  console.log(`vm: ${summary(total)}`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

const [mode, ...rest] = process.argv.slice(2);
try {
  if (mode === 'run') process.exitCode = await runCommand(rest);
  else if (mode === 'test') process.exitCode = await runTests(rest);
  else throw new SetupError('usage: main.js run CMD... | main.js test [FILTER...]');
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`vm: ${error.message}`);
  process.exitCode = 125;
}
