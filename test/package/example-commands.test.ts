/** The command lines of the examples, as `npm run build` leaves them. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

function run(example: string, ...words: string[]) {
  const main = fileURLToPath(new URL(`../../dist/examples/${example}/main.js`, import.meta.url));
  const env = { ...process.env, NO_COLOR: '1' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...words], { encoding: 'utf8', env });
  return { status, stdout, stderr };
}

describe('commands of the examples', () => {
  for (const example of ['edu', 'nvme', 'nic', 'axi-dma', 'virtio-blk', 'xdma']) {
    it(`${example} --help`, () => {
      expect(run(example, '--help')).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/^Usage: /),
        stderr: '',
      });
    });
  }

  for (const [example, wrong] of [
    ['edu', '--frob'],
    ['nvme', '--frob'],
    ['nic', '--size=1'],
    ['axi-dma', '--frob'],
    ['virtio-blk', '--frob'],
    ['xdma', '--frob'],
  ] as const) {
    it(`${example} names a wrong option`, () => {
      const named = wrong.split('=')[0]!;
      expect(run(example, wrong)).toMatchObject({ status: 2, stderr: expect.stringContaining(named) });
    });
  }

  it('edu says in one line that there is no such device', () => {
    const { status, stderr } = run('edu', '0000:ff:1f.7');
    expect(status).toBe(1);
    expect(stderr.trim()).toMatch(/^[A-Z]+ .*$/);
  });

  it('nvme names a command that there is not', () => {
    expect(run('nvme', 'frob')).toMatchObject({ status: 2, stderr: expect.stringContaining('frob') });
  });

  it('nvme says in one line what is wrong with a file', () => {
    const { status, stderr } = run('nvme', 'write', '--file', '/no/such/file');
    expect(status).toBe(1);
    expect(stderr.trim()).toMatch(/^ENOENT.*file'$/);
  });

  for (const [example, words] of [
    ['xdma', ['--card', String(2 ** 30)]],
    ['xdma', ['--card', String(Number.MAX_SAFE_INTEGER - 2 ** 20)]],
    ['nvme', ['read', '--blocks', String(2 ** 32)]],
  ] as const) {
    it(`${example} ${words.join(' ')}: one line says that it is too much`, () => {
      const { status, stderr } = run(example, ...words);
      expect(status).toBe(1);
      expect(stderr.trim()).toMatch(/^EINVAL .*$/);
    });
  }

  it('xdma names an address that is too large to count with', () => {
    const { status, stderr } = run('xdma', '--card', String(Number.MAX_SAFE_INTEGER));
    expect(status).toBe(2);
    expect(stderr).toMatch(/--card .* is invalid. It is no whole number from 0 to/);
  });

  it('nvme read prints offsets', () => {
    expect(run('nvme', 'read', '--lba', '2', '--blocks', '1').stdout).toMatch(
      /^0000000400 {2}0{64}\n0000000420 /,
    );
  });
});
