/** The published declarations compile by themselves, with everything that is marked internal left out of them. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TSC = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
const ENTRIES = [
  ...['lib/index', 'lib/sim/index', 'lib/testing/index'],
  ...['nvme', 'nic', 'axi-dma', 'virtio-blk', 'xdma'].map((driver) => `examples/${driver}/index`),
];

/** Declared members of a class that a driver must not see, and the file of their declaration. */
const INTERNAL = [
  ['dma/device', 'abandon'],
  ['dma/device', 'alter'],
  ['dma/pool/pool', 'refuse'],
  ['dma/operations/domain', 'own'],
  ['dma/iova/state', 'revoke'],
  ['sim/group', 'enter'],
  ['sim/inject/inject', 'strike'],
] as const;

describe('published declarations', () => {
  const folder = mkdtempSync(join(ROOT, 'dist', 'declarations-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  const compile = (...args: string[]): string => {
    try {
      return execFileSync(process.execPath, [TSC, ...args], { cwd: ROOT, encoding: 'utf8' });
    } catch (error) {
      return String((error as { stdout: unknown }).stdout);
    }
  };

  it('compile with skipLibCheck off, and say nothing of internals', { timeout: 300_000 }, () => {
    // Emitted anew: what stands in dist may be older than the sources.
    const out = join(folder, 'lib');
    const emit = ['--emitDeclarationOnly', '--incremental', 'false', '--composite', 'false'];
    const config = join(folder, 'tsconfig.json');
    writeFileSync(
      config,
      JSON.stringify({
        extends: join(ROOT, 'tsconfig.json'),
        include: [join(ROOT, 'lib'), join(ROOT, 'examples')],
        compilerOptions: { rootDir: ROOT, outDir: folder },
      }),
    );
    expect(compile('-p', config, ...emit)).toBe('');
    const program = join(folder, 'program.ts');
    writeFileSync(program, ENTRIES.map((entry, i) => `export * as e${i} from './${entry}.js';\n`).join(''));
    const strict = ['--strict', '--skipLibCheck', 'false', '--noEmit'];
    const target = ['--target', 'es2022', '--lib', 'es2023,esnext.disposable', '--module', 'nodenext'];
    expect(compile(program, '--ignoreConfig', ...strict, ...target, '--types', 'node')).toBe('');
    for (const [file, member] of INTERNAL) {
      const declared = readFileSync(join(out, `${file}.d.ts`), 'utf8');
      expect(declared, `${file}: ${member}`).not.toMatch(new RegExp(`^ +(readonly |get )?${member}\\b`, 'm'));
    }
  });
});
