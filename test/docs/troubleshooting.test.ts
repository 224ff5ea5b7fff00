/** docs/guide/troubleshooting.md has one heading for each error code of the source, and no other. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

it('has a heading for each error code', () => {
  const page = readFileSync('docs/guide/troubleshooting.md', 'utf8');
  const headings = [...page.matchAll(/^## (E[A-Z0-9]+)$/gm)].map(([, code]) => code);
  const table = /^const ERRNO = \{([\s\S]*?)^\}/m.exec(readFileSync('lib/errors.ts', 'utf8'))?.[1] ?? '';
  const codes = [...table.matchAll(/^ {2}(E[A-Z0-9]+):/gm)].map(([, code]) => code);
  expect(codes.length).toBeGreaterThan(20);
  expect(headings).toEqual(codes);
});
