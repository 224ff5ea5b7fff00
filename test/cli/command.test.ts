/** The command as a process: help, exit codes, JSON of results and of errors. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packageRoot } from '../../lib/native/package-root.ts';
import { Tree } from './tree.ts';

const MAIN = join(packageRoot(), 'dist', 'bundle', 'cli', 'main.js');
const EDU = '0000:00:10.0';
let tree: Tree;

beforeEach(() => {
  tree = new Tree();
  tree.healthy(EDU);
});
afterEach(() => tree.remove());

function userdma(...words: string[]) {
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined };
  const run = spawnSync(process.execPath, [MAIN, ...words], {
    encoding: 'utf8',
    env: env as NodeJS.ProcessEnv,
  });
  return { status: run.status, stdout: run.stdout, stderr: run.stderr };
}

describe.skipIf(!existsSync(MAIN) || process.platform === 'win32')('userdma', () => {
  it('--help names every command, and each has its own', () => {
    const { status, stdout } = userdma('--help');
    expect(status).toBe(0);
    for (const name of [
      'doctor',
      'list',
      'show',
      'bind',
      'unbind',
      'reset',
      'regs',
      'selftest',
      'build',
      'vm',
    ]) {
      expect(stdout).toMatch(new RegExp(`^  ${name}\\b`, 'm'));
      expect(userdma(name, '--help')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^Usage/) });
    }
  }, 60_000);

  it('list: a line for each function, or JSON', () => {
    expect(userdma('list', '--root', tree.root).stdout).toMatch(/0000:00:10\.0 +1234:11e8 .* vfio-pci +7 /);
    const [edu] = JSON.parse(userdma('list', '--json', '--root', tree.root).stdout) as object[];
    expect(edu).toMatchObject({
      address: EDU,
      vendorId: 0x1234,
      deviceId: 0x11e8,
      driver: 'vfio-pci',
      group: 7,
    });
  });

  it('doctor: problems are exit code 1, and JSON tells each', () => {
    tree.pci('0000:00:10.1', { driver: 'nvme', group: 7 });
    const { status, stdout } = userdma('doctor', EDU, '--json', '--root', tree.root);
    const { problems } = JSON.parse(stdout) as { problems: { id: string }[] };
    expect([status, problems.map(({ id }) => id)]).toEqual([1, expect.arrayContaining(['not-viable'])]);
  });

  it('errors: one sentence and its exit code', () => {
    expect(userdma('show', 'edu')).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/^error: "edu" is not/),
    });
    expect(userdma('show', '0000:7f:00.0', '--root', tree.root)).toMatchObject({ status: 3 });
    expect(userdma('frobnicate')).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/unknown command/),
    });
    expect(userdma('regs', EDU, 'x')).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/BAR is "x"/),
    });
  }, 60_000);

  it('errors in JSON', () => {
    const { stdout, stderr } = userdma('show', 'edu', '--json');
    expect(JSON.parse(stdout)).toEqual({ error: { code: 'EINVAL', message: expect.stringMatching(/edu/) } });
    expect(stderr).toBe('');
  });

  it('bind in JSON, and a mistake in the command line too', () => {
    const bound = userdma('bind', EDU, '--json', '--root', tree.root);
    expect([bound.status, JSON.parse(bound.stdout)]).toEqual([
      0,
      [{ address: EDU, driver: 'vfio-pci', former: 'vfio-pci' }],
    ]);
    for (const words of [
      ['regs', '--json'],
      ['rtl', 'build', 'a.v', '--json'],
      ['frobnicate', '--json'],
    ]) {
      const { status, stdout, stderr } = userdma(...words);
      expect([status, stderr]).toEqual([2, '']);
      expect(JSON.parse(stdout).error).toMatchObject({
        code: 'EINVAL',
        message: expect.not.stringMatching(/^error/),
      });
    }
    expect(userdma('doctor', '--memory', 'much')).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/--memory is "much"; write a whole number/),
    });
  }, 60_000);

  it('without /sys: that, and where to run it', () => {
    const empty = join(tree.root, 'empty');
    for (const words of [['list'], ['show', EDU], ['bind', EDU], ['unbind', EDU]]) {
      const { status, stdout } = userdma(...words, '--json', '--root', empty);
      expect([status, JSON.parse(stdout).error]).toEqual([
        3,
        { code: 'ENODEV', message: expect.stringMatching(/shows no PCI .*; run it /) },
      ]);
    }
  }, 60_000);

  it('a reader that has seen enough is no error', () => {
    const list = `${process.execPath} ${MAIN} --help`;
    const { stderr } = spawnSync('sh', ['-c', `${list} | true`], { encoding: 'utf8' });
    expect(stderr).toBe('');
  });

  it('completion: a script for the shell, and words for it', () => {
    expect(userdma('complete', 'bash').stdout).toMatch(/userdma/);
    expect(userdma('complete', '--', 'do').stdout).toMatch(/^doctor/m);
  });
});
