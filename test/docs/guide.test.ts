/**
 * Every program in docs/guide is compiled against the package's own types and run: what it prints is what the page says.
 *
 *      ```ts title=edu.ts            a file of the page's project
 *      ```ts run title=main.ts       the same, and it is run
 *      ```text output                what the program before it prints
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';

interface Block {
  readonly file: string;
  readonly text: string;
  readonly runs: boolean;
  /** What it prints; undefined when the page does not say. */
  output?: string;
}

const GUIDE = join('docs', 'guide');
// Inside the checkout, so that `userdma` is this package and its exports.
const PROJECTS = join('build', 'guide');
const TYPESCRIPT = {
  target: 'es2022',
  lib: ['es2023', 'esnext.disposable'],
  module: 'nodenext',
  types: ['node'],
  strict: true,
  noEmitOnError: true,
};

function blocksOf(page: string): { files: Block[]; loose: string[] } {
  const files: Block[] = [];
  const loose: string[] = [];
  const text = readFileSync(join(GUIDE, page), 'utf8');
  for (const [, info = '', body = ''] of text.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)) {
    const [language, ...words] = info.split(' ');
    const title = words.find((word) => word.startsWith('title='))?.slice('title='.length);
    if (language === 'text' && words.includes('output')) files.at(-1)!.output = body;
    else if (language === 'ts' && title !== undefined)
      files.push({ file: title, text: body, runs: words.includes('run') });
    else if (language === 'ts') loose.push(body.split('\n')[0]!);
  }
  return { files, loose };
}

const pages = readdirSync(GUIDE).filter((name) => name.endsWith('.md'));

for (const page of pages) {
  describe(`docs/guide/${page}`, () => {
    const { files, loose } = blocksOf(page);
    const folder = join(PROJECTS, page.replace(/\.md$/, ''));

    it('has no program that is not tested', () => {
      expect(loose).toEqual([]);
    });
    if (files.length === 0) return;

    beforeAll(() => {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      writeFileSync(
        join(folder, 'tsconfig.json'),
        JSON.stringify({
          compilerOptions: { ...TYPESCRIPT, outDir: 'out', rootDir: '.' },
          files: files.map(({ file }) => file),
        }),
      );
      for (const { file, text } of files) writeFileSync(join(folder, file), text);
    });

    it('compiles', { timeout: 300_000 }, () => {
      const compile = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', folder], {
        encoding: 'utf8',
      });
      expect(compile.stdout + compile.stderr).toBe('');
    });

    for (const { file, output } of files.filter(({ runs }) => runs)) {
      it(`${file} runs${output === undefined ? '' : ' and prints what the page says'}`, {
        timeout: 120_000,
      }, () => {
        const program = join(folder, 'out', file.replace(/\.ts$/, '.js'));
        const printed = execFileSync(process.execPath, [program], { encoding: 'utf8' });
        if (output !== undefined) expect(printed).toBe(output);
      });
    }
  });
}
