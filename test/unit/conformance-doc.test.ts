/** docs/conformance.md: every statement has a row, and every test that a row names exists and is not left out. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const STATEMENTS = 185;
const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

interface Row {
  readonly number: number;
  readonly cell: string;
}

const rows: readonly Row[] = read('docs/conformance.md')
  .split('\n')
  .flatMap((line) => {
    const found = /^\| (\d+) \| .+? \| (.+) \|$/.exec(line);
    return found === null ? [] : [{ number: Number(found[1]), cell: found[2]! }];
  });

/** File and title of each test that a row names. */
function testsIn({ cell }: Row): [string, string][] {
  return cell.split('; `').flatMap((part) => {
    const file = /^`?([^`]+\.test\.ts)`: /.exec(part)?.[1];
    if (file === undefined) return [];
    return [...part.matchAll(/"([^"]+)"/g)].map(([, title]): [string, string] => [`test/${file}`, title!]);
  });
}

/** Titles as the source has them: of `it`, and of the rows that some tests are made of. */
function has(source: string, title: string): boolean {
  return source.includes(title) && !/\b(it|describe|test)\.(skip|todo|only)\b/.test(source);
}

describe('docs/conformance.md', () => {
  it('has each statement once, in order', () => {
    expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: STATEMENTS }, (_, i) => i + 1));
  });

  it('names tests that exist and are not left out, or says why there is none', () => {
    const missing: string[] = [];
    let named = 0;
    for (const row of rows) {
      const tests = testsIn(row);
      named += tests.length;
      if (tests.length === 0)
        expect(row.cell).toMatch(/^(Kernel context|The handle|Difference|Deviates|No way)/);
      for (const [file, title] of tests)
        if (!has(read(file), title)) missing.push(`${row.number} ${file}: ${title}`);
    }
    expect(missing).toEqual([]);
    expect(named).toBeGreaterThan(STATEMENTS - 20);
  });
});
