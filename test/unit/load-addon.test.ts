/** What a person reads when the addon cannot be loaded: from a copy of the package in which nothing is built. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { packageRoot } from '../../lib/native/package-root.ts';
import { buildAddon } from '../build-addon.ts';

let copy: string;

beforeEach(() => {
  const root = packageRoot();
  mkdirSync(join(root, 'build'), { recursive: true });
  copy = mkdtempSync(join(root, 'build', 'unbuilt-'));
  for (const name of [
    'package.json',
    'binding.gyp',
    'lib/errors.ts',
    'lib/rings/barriers.ts',
    'lib/native',
  ]) {
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
});

afterEach(() => rmSync(copy, { recursive: true }));

async function failure(): Promise<unknown> {
  const { loadAddon } = await import(pathToFileURL(join(copy, 'lib/native/load.ts')).href);
  try {
    loadAddon();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe.runIf(process.platform === 'linux')('on Linux', () => {
  test('one that is not built: how to build it, and that simulation needs none', async () => {
    expect(await failure()).toMatchObject({
      name: 'DmaError',
      code: 'ENOSYS',
      message: expect.stringMatching(
        /cannot be used.*it is not built; run `npm run build`.*simulation needs no/,
      ),
      cause: expect.any(Error),
    });
  });

  test('one that is no addon of this machine: what the loader says', async () => {
    mkdirSync(join(copy, 'build', 'Release'), { recursive: true });
    writeFileSync(
      join(copy, 'build', 'Release', 'userdma.node'),
      'no ELF file, and long enough to look like one'.repeat(9),
    );
    expect(await failure()).toMatchObject({
      code: 'ENOSYS',
      message: expect.stringMatching(/does not load: .*ELF.*another processor.*run `npm run build`/),
    });
  });
});

describe.runIf(process.platform === 'linux')('in an installed package', () => {
  beforeEach(() => rmSync(join(copy, 'binding.gyp')));

  test('no prebuilt one for this machine: the command that builds one', async () => {
    expect(await failure()).toMatchObject({
      code: 'ENOSYS',
      message: expect.stringMatching(/it is not built; run `npx userdma build`.*simulation needs no/),
    });
  });

  test('a prebuilt one that does not load: why, and the command that builds one', async () => {
    const folder = join(copy, 'prebuilds', `linux-${process.arch}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'userdma.node'), 'no ELF file, and long enough to look like one'.repeat(9));
    expect(await failure()).toMatchObject({
      code: 'ENOSYS',
      message: expect.stringMatching(
        /the prebuilt one does not load: .*ELF.*it is not built; run `npx userdma build`/,
      ),
    });
  });

  test('USERDMA_ADDON alone is looked at when it is set', async () => {
    process.env.USERDMA_ADDON = join(copy, 'package.json.node');
    try {
      expect(await failure()).toMatchObject({
        code: 'ENOSYS',
        message: expect.stringMatching(/USERDMA_ADDON names does not load: .*; name another file, or unset/),
      });
    } finally {
      delete process.env.USERDMA_ADDON;
    }
  });
});

describe.each([
  ['platform', 'darwin', 'needs Linux, and this is darwin'],
  ['arch', 'arm', 'needs an x64 or arm64 processor, and this is arm'],
  ['arch', 'riscv64', 'needs an x64 or arm64 processor, and this is riscv64'],
] as const)('process.%s %s', (property, value, words) => {
  test.runIf(property === 'platform' || process.platform === 'linux')(
    'is named, and a simulated device works there',
    async () => {
      const original = Object.getOwnPropertyDescriptor(process, property)!;
      Object.defineProperty(process, property, { ...original, value });
      try {
        expect(await failure()).toMatchObject({
          code: 'ENOSYS',
          message: expect.stringMatching(new RegExp(`${words}; open a simulated device`)),
        });
      } finally {
        Object.defineProperty(process, property, original);
      }
    },
  );

  test.runIf(property === 'platform' || process.platform === 'linux')(
    'builds without an addon, says so in one line, and succeeds',
    () => {
      const log = vi.spyOn(console, 'log').mockImplementation(() => {});
      const original = Object.getOwnPropertyDescriptor(process, property)!;
      Object.defineProperty(process, property, { ...original, value });
      try {
        expect(buildAddon()).toBe(0);
        expect(log.mock.calls).toEqual([
          [expect.stringMatching(new RegExp(`^native addon not built: .*${words}; .*simulation works$`))],
        ]);
      } finally {
        Object.defineProperty(process, property, original);
        log.mockRestore();
      }
    },
  );
});
