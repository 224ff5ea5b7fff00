/**
 * Files and folders that docs/architecture.md and CONTRIBUTING.md name are there: a file that moves takes its mentions
 * along. Folders of lib and lib/dma that are there have a line in docs/architecture.md.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';

/** Walks through the folders leave out what they begin with. */
const BASES = ['', 'lib', 'lib/dma', 'lib/sim', 'lib/debug'];
/** What the reader names, entries of the package, files of the kernel, and what `npm run docs` makes. */
const NOT_PATHS = /NAME|FILE|\*|^(userdma|mm|kernel|site)\//;

const folders = ['lib', 'native', 'examples', 'test', 'docs'];
const files = new Set(
  folders.flatMap((folder) => readdirSync(folder, { recursive: true }).map((path) => basename(String(path)))),
);

function foldersIn(path: string): string[] {
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? [entry.name] : [],
  );
}

for (const page of ['docs/architecture.md', 'CONTRIBUTING.md']) {
  describe(page, () => {
    const text = readFileSync(page, 'utf8');
    const words = [...text.matchAll(/`([\w./*-]+)`/g)].map(([, word = '']) => word);
    const plain = words.filter((word) => !NOT_PATHS.test(word));

    it('names paths that are there', () => {
      const paths = plain.filter((word) => word.includes('/'));
      expect(paths.length).toBeGreaterThan(40);
      expect(paths.filter((path) => !BASES.some((base) => existsSync(join(base, path))))).toEqual([]);
    });

    it('names files that are somewhere, where it leaves the folder out', () => {
      const names = plain.filter((word) => /^[\w-]+\.(ts|cc|h|c)$/.test(word));
      expect(names.length).toBeGreaterThan(0);
      expect(names.filter((name) => !files.has(name))).toEqual([]);
    });
  });
}

describe('docs/architecture.md', () => {
  const text = readFileSync('docs/architecture.md', 'utf8');

  it('has a line for each folder of lib, and of lib/dma', () => {
    const missing = [
      ...foldersIn('lib').filter((name) => !text.includes(`\`lib/${name}\``)),
      ...foldersIn('lib/dma').filter((name) => !text.includes(`\n| \`${name}\` |`)),
    ];
    expect(missing).toEqual([]);
  });
});
