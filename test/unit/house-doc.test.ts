/** Files that docs/architecture.md and CONTRIBUTING.md name are there: a file that moves takes its mentions along. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

/** Walks through the rooms leave out what they begin with. */
const BASES = ['', 'lib', 'lib/dma', 'lib/sim', 'lib/debug'];

for (const page of ['docs/architecture.md', 'CONTRIBUTING.md']) {
  describe(page, () => {
    const text = readFileSync(page, 'utf8');
    const names = [...text.matchAll(/`([\w.-]+(?:\/[\w.*-]+)+\.(?:ts|cc|h|md|js))`/g)].map(
      ([, name = '']) => name,
    );

    it('names files that are there', () => {
      expect(names.length).toBeGreaterThan(10);
      const plain = names.filter(
        (name) => !name.includes('NAME') && !name.includes('FILE') && !name.includes('*'),
      );
      const missing = plain.filter((name) => !BASES.some((base) => existsSync(join(base, name))));
      expect(missing).toEqual([]);
    });
  });
}
