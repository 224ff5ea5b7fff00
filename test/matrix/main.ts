/**
 * Runs the cells of the matrix that have no green result yet, one after the other, and writes the table in
 * docs/testing.md.
 *
 *   main.js [--again] [--table] [WORD...]    cells with all words, for example: sid intel, or host 22
 *
 * --again runs cells that have a green result too; --table runs none. Each cell's result is kept as it ends, so that a
 * run that was stopped goes on where it was.
 */
import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '../../lib/vm/host.ts';
import { nodeOfMajor } from '../vm/node.ts';
import type { BootResult } from '../vm/results.ts';
import { type Cell, cells, keyOf } from './cells.ts';
import { type CellResult, RESULTS, readResults } from './results.ts';
import { withTable } from './table.ts';

const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const has = (flag: string) => process.argv.includes(`--${flag}`);

function git(...args: string[]): string {
  return execFileSync('git', args, { encoding: 'utf8' }).trim();
}

/** Runs a program whose output is shown; its exit status. */
function run(program: string, args: readonly string[], variables: Record<string, string>): Promise<number> {
  const child = spawn(program, args, { stdio: 'inherit', env: { ...process.env, ...variables } });
  return new Promise((resolve, reject) => {
    child.on('error', reject).on('close', (status) => resolve(status ?? 1));
  });
}

/** The program of a major version: this one, where it is of that version. */
function nodeOf({ node }: Cell): string {
  const [major] = process.versions.node.split('.');
  return node === undefined || node === major ? process.execPath : nodeOfMajor(cacheFolder(), node);
}

const DOCUMENT = 'docs/testing.md';

interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

async function runOnHost(cell: Cell, folder: string): Promise<BootResult[]> {
  const start = performance.now();
  const report = join(folder, 'report.json');
  const node = nodeOf(cell);
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const files = cell.files ?? [];
  const status = await run(node, ['node_modules/vitest/vitest.mjs', 'run', ...reporters, ...files], {});
  const found = existsSync(report) ? (JSON.parse(readFileSync(report, 'utf8')) as VitestReport) : undefined;
  const failures = (found?.testResults ?? []).flatMap(({ name, assertionResults }) =>
    assertionResults.flatMap((test) =>
      test.status === 'failed' ? [{ name: test.fullName, file: name }] : [],
    ),
  );
  const failed = found?.numFailedTests ?? 0;
  const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim().slice(1);
  return [
    {
      ...{ machine: '', architecture: process.arch === 'x64' ? 'x86-64' : process.arch },
      ...{ iommu: '', linux: '', qemu: '', node: version },
      ...{ passed: found?.numPassedTests ?? 0, skipped: found?.numPendingTests ?? 0 },
      // A run that fails without a failed test is one failure.
      failed: status !== 0 && failed === 0 ? 1 : failed,
      ...{ seconds: (performance.now() - start) / 1000, failures, reasons: [] },
    },
  ];
}

async function runInGuest(cell: Cell, folder: string): Promise<BootResult[]> {
  const results = join(folder, 'results');
  const chosen = {
    ...{ MACHINE: cell.machines!.join(','), KERNEL: cell.kernel, QEMU: cell.qemu, IOMMU: cell.iommu },
    ...{ NODE: cell.node, RESULTS: results },
    LIMIT: process.env.USERDMA_VM_LIMIT ?? '1200',
  };
  const variables = Object.entries(chosen).flatMap(([name, value]) =>
    value === undefined ? [] : [[`USERDMA_VM_${name}`, value]],
  );
  const args = ['dist/test/vm/main.js', 'test', ...(cell.files ?? [])];
  const status = await run(process.execPath, args, Object.fromEntries(variables));
  const text = existsSync(results) ? readFileSync(results, 'utf8') : '';
  const boots = text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as BootResult]));
  if (boots.length === 0) throw new Error(`nothing was booted: status ${status}`);
  return boots;
}

async function runCell(cell: Cell): Promise<CellResult> {
  const folder = mkdtempSync(join(tmpdir(), 'userdma-matrix-'));
  try {
    const boots = await (cell.machines === undefined ? runOnHost : runInGuest)(cell, folder);
    const sum = (field: 'passed' | 'failed' | 'skipped' | 'seconds') =>
      boots.reduce((total, boot) => total + boot[field], 0);
    const of = (field: 'architecture' | 'iommu' | 'linux' | 'qemu' | 'node') =>
      [...new Set(boots.map((boot) => boot[field]))].join(', ');
    return {
      key: keyOf(cell),
      ...{ architecture: of('architecture'), linux: of('linux'), qemu: of('qemu'), iommu: of('iommu') },
      ...{ node: of('node'), passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') },
      seconds: Math.round(sum('seconds')),
      failures: boots.flatMap(({ failures }) => failures.map(({ name }) => name)),
      reasons: boots.flatMap(({ reasons }) => reasons),
      date: new Date().toISOString().slice(0, 10),
      commit: git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '-uno') === '' ? '' : '+'),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const isWanted = (cell: Cell) =>
  words.every((word) =>
    Object.values({ machines: ['host'], ...cell })
      .flat()
      .some((value) => String(value) === word),
  );

function writeTable(): void {
  writeFileSync(DOCUMENT, withTable(readFileSync(DOCUMENT, 'utf8'), cells, readResults()));
}

const wanted = cells.filter(isWanted);
if (wanted.length === 0) console.log(`matrix: no cell has all of these: ${words.join(' ')}`);
let failed = wanted.length === 0 ? 1 : 0;
for (const cell of has('table') ? [] : wanted) {
  const before = readResults().get(keyOf(cell));
  if (before?.failed === 0 && !has('again')) continue;
  console.log(`matrix: ${keyOf(cell)}`);
  try {
    const result = await runCell(cell);
    appendFileSync(RESULTS, `${JSON.stringify(result)}\n`);
    writeTable();
    failed += result.failed;
    const { passed, skipped, seconds } = result;
    console.log(`matrix: ${passed} passed, ${result.failed} failed, ${skipped} skipped in ${seconds} s`);
  } catch (error) {
    failed++;
    console.log(`matrix: ${(error as Error).message}`);
  }
}
writeTable();
process.exitCode = failed === 0 ? 0 : 1;
