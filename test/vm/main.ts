/**
 * The virtual machine from the command line.
 *
 *   main.js run CMD...                runs CMD in this checkout inside the default machine and ends with its exit status
 *   main.js test [FLAG...] [FILTER...] runs the guest tests on every machine that has some
 *   main.js kernel                    builds the tests' own kernel, if it is not there
 *   main.js node MAJOR                fetches Node.js of a major version, if it is not there, and prints its path
 *
 * Exit status: the command's; 1 when a test failed; 124 when the time limit was reached; 125 when the machine died
 * or could not be started.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { debianKernel } from '../../lib/vm/debian-kernel.ts';
import { HarnessError } from '../../lib/vm/harness-error.ts';
import { cacheFolder, checkHost, guestEnvironment } from '../../lib/vm/host.ts';
import { prepareInitrd } from '../../lib/vm/initrd.ts';
import { findKernel, type Kernel } from '../../lib/vm/kernel.ts';
import { findQemu } from '../../lib/vm/qemu.ts';
import { exitStatus, explain, guestShare, type Job, run } from '../../lib/vm/run.ts';
import { setting } from '../../lib/vm/settings.ts';
import { crossAddon, debianRoot } from './arm64.ts';
import { jobs, namedMachines, numberOf, takeFlags, withChoices } from './choices.ts';
import { defaultMachine, type Machine } from './machine.ts';
import { guestNode, nodeOfMajor, versionOf } from './node.ts';
import { hasOwnKernel, ownKernel } from './own-kernel.ts';
import { ownModule } from './own-module.ts';
import type { ReportLine, Result } from './reporter.ts';
import type { BootResult, Counts } from './results.ts';
import { findSuites, type Suite } from './suites.ts';

const here = dirname(fileURLToPath(import.meta.url));
const checkout = process.cwd();

/** Seconds until a machine is switched off. */
const timeLimit = () => numberOf('LIMIT', 600);

type Host = Pick<Job, 'qemu' | 'kernel' | 'initrd' | 'root' | 'folders' | 'folder' | 'environment'> & {
  readonly node: string;
  readonly nodeVersion: string;
  /** The kernel's version. */
  readonly linux: string;
};

const ownConfig = join(checkout, 'test/vm/kernel/config');

/** Building a kernel takes long: machines that need it are left out of a run of everything until it is there. */
function readySuites(suites: readonly Suite[], filters: readonly string[]): readonly Suite[] {
  if (filters.length > 0 || setting('MACHINE') !== undefined || hasOwnKernel(cacheFolder(), ownConfig))
    return suites;
  const isReady = ({ machine }: Suite) => machine.kernel !== 'own';
  const left = new Set(suites.filter((suite) => !isReady(suite)).map(({ machine }) => machine.name));
  for (const name of left) {
    console.log(`vm: machine ${name} is left out: npm run test:vm -- ${name} builds its kernel`);
  }
  return suites.filter(isReady);
}

function kernelOf({ kernel = 'found', flavour }: Machine, cache: string): Kernel {
  if (flavour !== undefined) return debianKernel(cache, setting('KERNEL'), flavour);
  const own = kernel === 'own' || setting('KERNEL') === 'own';
  return own ? ownKernel(cache, ownConfig) : findKernel(cache);
}

function prepare(machine: Machine): Host {
  checkHost();
  const cache = cacheFolder();
  const { module } = machine;
  const foreign = machine.architecture === 'arm64';
  const kernel = kernelOf(machine, cache);
  const node = guestNode(cache, foreign ? 'arm64' : 'x64');
  const root = setting('ROOT') ?? (foreign ? debianRoot(cache) : undefined);
  return {
    ...{ qemu: findQemu(cache, machine.architecture), kernel: kernel.image },
    ...{ initrd: prepareInitrd(kernel, cache, [], root), folder: checkout },
    ...{ node, nodeVersion: versionOf(node), linux: kernel.version },
    // Another root has neither this checkout nor the programs that are fetched.
    ...(root === undefined ? {} : { root, folders: [checkout, dirname(dirname(node))] }),
    environment: {
      ...{ ...guestEnvironment(node), USERDMA_TESTING: '1', USERDMA_TEST_LINUX: kernel.version },
      ...(foreign ? { USERDMA_ADDON: crossAddon(checkout) } : {}),
      ...(module && { USERDMA_TEST_MODULE: ownModule(kernel, join(checkout, 'test', module), cache) }),
    },
  };
}

const showOutput = (text: string) => void process.stdout.write(text);

async function runCommand(command: readonly string[]): Promise<number> {
  if (command.length === 0) throw new HarnessError('nothing to run; example: npm run vm -- npm start -- edu');
  // What a person starts by hand, measurements too, has the host's time.
  const chosen = namedMachines()?.[0] ?? defaultMachine;
  const host = prepare(chosen);
  const machine: Machine = { ...withChoices(chosen, host.linux), clock: 'host' };
  const job = { ...host, machine, command, limit: timeLimit(), print: showOutput };
  const outcome = await run(job);
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

/**
 * Where the clock is the host's, a file has three quarters of the machine's time: a thread that blocks keeps the deadlines
 * of its own tests from firing, and the files after it still run.
 */
function testCommand(node: string, { clock }: Machine, files: readonly string[]): string[] {
  const deadline = clock === 'host' ? [`--test-timeout=${timeLimit() * 750}`] : [];
  const reporters = [
    ['spec', 'stdout'],
    [join(here, 'reporter.js'), `${guestShare}/report`],
  ].flatMap(([name, to]) => [`--test-reporter=${name}`, `--test-reporter-destination=${to}`]);
  return [node, '--test', '--test-concurrency=1', ...deadline, ...reporters, ...files];
}

async function runSuite(host: Host, suite: Suite, print: Job['print']): Promise<Counts> {
  const { files } = suite;
  const machine = withChoices(suite.machine, host.linux);
  print(`vm: ${files.length} test file${files.length === 1 ? '' : 's'} on machine ${machine.name}\n`);
  let report: ReportLine[] = [];
  const collect = (share: string) => {
    report = readReport(join(share, 'report'));
  };
  const job = {
    ...host,
    machine,
    command: testCommand(host.node, machine, files),
    limit: timeLimit(),
    print,
    collect,
  };
  const outcome = await run(job);
  const counts = count(report);
  const complete = report.some((line) => 'end' in line);
  // A run without an end, or with an exit status nobody accounts for, is one failure more.
  const unexplained = !complete || (exitStatus(outcome) !== 0 && counts.failed === 0);
  if (unexplained) counts.failed++;
  if (outcome.kind !== 'exited' || unexplained) {
    print(`${explain(outcome)}\n`);
    const last = report.findLast((line) => 'result' in line);
    print(`vm: last test that ended: ${last === undefined ? 'none' : last.name}\n`);
  }
  print(`vm: ${machine.name}: ${summary(counts)} in ${outcome.seconds.toFixed(1)} s\n`);
  keepResults(host, machine, counts, report, outcome.seconds);
  return counts;
}

/** A line of JSON for each boot, where a run wants its results in a file. */
function keepResults(
  host: Host,
  machine: Machine,
  counts: Counts,
  report: readonly ReportLine[],
  seconds: number,
): void {
  const path = setting('RESULTS');
  if (path === undefined) return;
  const of = (wanted: Result) =>
    report.flatMap((line) => ('result' in line && line.result === wanted ? [line] : []));
  const result: BootResult = {
    machine: machine.name,
    architecture: machine.architecture ?? 'x86-64',
    iommu: machine.iommu,
    ...{ linux: host.linux, qemu: host.qemu.version, node: host.nodeVersion },
    ...counts,
    seconds,
    failures: of('failed').map(({ name, file }) => ({ name, file })),
    reasons: of('skipped').map(({ reason = '' }) => reason),
  };
  appendFileSync(path, `${JSON.stringify(result)}\n`);
}

function summary({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/**
 * Several machines at a time, since each keeps one processor busy. The first one's output is shown as it comes, that
 * of the others in order once all are off.
 */
async function runSuites(hosts: ReadonlyMap<Machine, Host>, suites: readonly Suite[]): Promise<Counts[]> {
  const results: Counts[] = [];
  const output = suites.map(() => '');
  const waiting = [...suites.entries()];
  const lane = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [index, suite] = next;
      const keep = (text: string) => {
        output[index] += text;
      };
      results[index] = await runSuite(hosts.get(suite.machine)!, suite, index === 0 ? showOutput : keep);
    }
  };
  const lanes = Array.from({ length: jobs() }, lane);
  await Promise.all(lanes).finally(() => showOutput(output.join('')));
  return results;
}

async function runTests(args: readonly string[]): Promise<number> {
  const filters = takeFlags(args);
  const suites = readySuites(findSuites(dirname(here), filters, namedMachines()), filters);
  if (suites.length === 0) throw new HarnessError(`no test file matches ${filters.join(' ')}`);
  const hosts = new Map<Machine, Host>();
  for (const { machine } of suites) hosts.set(machine, hosts.get(machine) ?? prepare(machine));
  const results = await runSuites(hosts, suites);
  const sum = (result: Result) => results.reduce((total, counts) => total + counts[result], 0);
  const total: Counts = { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
  console.log(`vm: ${summary(total)}`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

const [mode, ...rest] = process.argv.slice(2);
try {
  if (mode === 'run') process.exitCode = await runCommand(rest);
  else if (mode === 'test') process.exitCode = await runTests(rest);
  else if (mode === 'kernel') ownKernel(cacheFolder(), ownConfig);
  else if (mode === 'node' && /^\d+$/.test(rest[0] ?? '')) console.log(nodeOfMajor(cacheFolder(), rest[0]!));
  else {
    throw new HarnessError('usage: main.js run CMD... | test [FLAG...] [FILTER...] | kernel | node MAJOR');
  }
} catch (error) {
  if (!(error instanceof HarnessError)) throw error;
  console.error(`vm: ${error.message}`);
  process.exitCode = 125;
}
