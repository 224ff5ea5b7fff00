/** docs/dma-debug.md promises that every mistake is in it: those of the kernel, and every kind of report. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

const page = read('docs/dma-debug.md');
const tests = read('test/debug/kernel-rows.test.ts');

/** Members of the type, as its source has them: a type is not there to be asked. */
const kinds = [
  .../export type ReportKind =([^;]*);/.exec(read('lib/dma/debug-view.ts'))![1]!.matchAll(/'([^']+)'/g),
].map(([, kind]) => kind!);

/** The table of the kernel's errors: row -> what happens here. */
const rows = [...page.matchAll(/^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$/gm)];

describe('docs/dma-debug.md', () => {
  it("has the kernel's 26 rows in order, each with what happens here", () => {
    expect(rows.map(([, row]) => Number(row))).toEqual(Array.from({ length: 26 }, (_, i) => i + 1));
    for (const [, row, , here, how] of rows) {
      expect(`${row}: ${here}`).toMatch(
        /^\d+: (impossible|always checked|reported|always checked, reported)$/,
      );
      // What is reported has a kind.
      if (here!.includes('reported')) expect(kinds.some((kind) => how!.includes(`\`${kind}\``))).toBe(true);
    }
  });

  it('has a test for each of them', () => {
    const tested = [...tests.matchAll(/it\(\s*['"]rows? ([^'"]*?)[,:] [a-z]/g)].flatMap(([, list]) =>
      numbersIn(list!),
    );
    expect(tested.sort((a, b) => a - b)).toEqual(Array.from({ length: 26 }, (_, i) => i + 1));
  });

  it('has every kind of report', () => {
    expect(kinds.length).toBeGreaterThan(20);
    expect(kinds.filter((kind) => !page.includes(`\`${kind}\``))).toEqual([]);
  });

  it('names no kind that there is not', () => {
    const named = [...page.matchAll(/^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|/gm)]
      .flatMap(([, list]) => [...list!.matchAll(/`([a-z-]+)`/g)])
      .map(([, kind]) => kind!)
      .filter((kind) => kind.includes('-'));
    expect(named.filter((kind) => !kinds.includes(kind))).toEqual([]);
    expect(named.length).toBeGreaterThan(10);
  });
});

/** `19 to 22` and `11, 14, 15` */
function numbersIn(list: string): number[] {
  const [first, last] = list.split(' to ').map(Number);
  if (last === undefined) return list.split(', ').map(Number);
  return Array.from({ length: last - first! + 1 }, (_, i) => first! + i);
}
