/** doctor in the virtual machine, as a person uses it: the command, and a shell in which its commands are typed. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Diagnosis } from '../../lib/doctor/doctor.ts';
import { assert } from '../harness.ts';

export const MAIN = join(process.cwd(), 'dist', 'bundle', 'cli', 'main.js');

const tools = mkdtempSync(join(tmpdir(), 'tools-'));
chmodSync(tools, 0o755);
// Any user has to reach the program in a checkout that is its owner's alone. The host sees nothing of this change.
for (let folder = process.cwd(); folder !== '/'; folder = dirname(folder)) {
  chmodSync(folder, statSync(folder).mode | 0o055);
}

// The guest's root is the host's, which may be a container. The guest is none.
rmSync('/.dockerenv', { force: true });
rmSync('/run/.containerenv', { force: true });

/** Puts a program on the path of everything that is typed. */
export function tool(name: string, script: string): void {
  writeFileSync(join(tools, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

tool('npx', `shift\nexec ${process.execPath} ${MAIN} "$@"`);
// The guest's modules are those of its first root, in busybox's format.
tool('modprobe', 'exec busybox modprobe "$@"');

export const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: '1', PATH: `${tools}:${process.env.PATH}` };

/** The words before a command of a user without rights, and with a limit of locked memory in bytes. */
export const asUser = (limit = 2 ** 26) => [
  ...['prlimit', `--memlock=${limit}:${limit}`],
  ...['setpriv', '--reuid', '1000', '--regid', '1000', '--clear-groups', '--inh-caps=-all', '--'],
];

/** @param words of `userdma doctor` @param before words that start it, e.g. those of `asUser` */
export function diagnose(words: readonly string[], before: readonly string[] = []): Diagnosis {
  const [program, ...rest] = [...before, process.execPath, MAIN, 'doctor', ...words, '--json'];
  const run = spawnSync(program!, rest, { encoding: 'utf8', env });
  assert.equal(run.stderr, '');
  return JSON.parse(run.stdout) as Diagnosis;
}

/** The command against the one problem that there is. */
export function command({ problems }: Diagnosis, id: string): string {
  assert.deepEqual(
    problems.map((problem) => problem.id),
    [id],
  );
  return problems[0]!.command!;
}

/** Types a line. @returns what it printed */
export function shell(line: string): string {
  return execFileSync('sh', ['-ec', line], { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}
