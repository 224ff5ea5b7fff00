/**
 * docs/conformance.md: every statement has a row, every test that a row names exists and is not left out, the worlds are
 * those of the conformance tests; and the check of CI that the tests ran finds those that did not.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { missingIn, type Report, statementsIn, testsOf, worldsIn } from '../statements.ts';

const STATEMENTS = 185;
const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const document = read('docs/conformance.md');
const statements = statementsIn(document);

/** Titles as the source has them: of `it`, and of the rows that some tests are made of, with what comes before them. */
function has(source: string, title: string): boolean {
  const known = source.includes(title) || source.includes(title.replace(/^EINVAL: /, ''));
  return (known || isOfSizes(source, title)) && !/\b(it|describe|test)\.(skip|todo|only)\b/.test(source);
}

/** The tests of sizes are named by the call that they are about. */
function isOfSizes(source: string, title: string): boolean {
  const call = / any size is memory, null or a coded error$/.exec(title);
  return call !== null && source.includes(`name: '${title.slice(0, call.index)}'`);
}

describe('docs/conformance.md', () => {
  it('has each statement once, in order', () => {
    expect(statements.map(({ number }) => number)).toEqual(
      Array.from({ length: STATEMENTS }, (_, i) => i + 1),
    );
  });

  it('names tests that exist and are not left out, or says why there is none', () => {
    const missing: string[] = [];
    let named = 0;
    for (const statement of statements) {
      const tests = testsOf(statement);
      named += tests.length;
      if (tests.length === 0)
        expect(statement.cell).toMatch(/^(Kernel context|The handle|Difference|Deviates|No way)/);
      for (const { file, title } of tests)
        if (!has(read(file), title)) missing.push(`${statement.number} ${file}: ${title}`);
    }
    expect(missing).toEqual([]);
    expect(named).toBeGreaterThan(STATEMENTS - 20);
  });

  it('has the worlds of the conformance tests', () => {
    const source = read('test/conformance/worlds.ts');
    const simulated = [...source.matchAll(/\bsimulation\(\s*'([^']+)'/g)].map(
      ([, name]) => `simulated, ${name}`,
    );
    const boards = [...source.matchAll(/\bboard\('([^']+)'/g)].map(([, name]) => `u-dma-buf, ${name}`);
    expect(worldsIn(document)).toEqual([...simulated, ...boards]);
  });

  it('the check of a report finds tests that did not run, were left out, failed, or did not run in a world', () => {
    const rows = [
      '| World | Special |\n|---|---|\n| one | |\n| two | |\n',
      '| 1 | A | `conformance/a.test.ts`: "first", "second" |',
      '| 2 | B | `unit/b.test.ts`: "third"; `unit/b.test.ts`: "fourth" |',
    ].join('\n');
    const test = (suite: string, title: string, status = 'passed') => ({
      ancestorTitles: [suite],
      title: `it is the ${title}`,
      status,
    });
    const report = (a: ReturnType<typeof test>[], b: ReturnType<typeof test>[]): Report => ({
      testResults: [
        { name: '/checkout/test/conformance/a.test.ts', assertionResults: a },
        { name: '/checkout/test/unit/b.test.ts', assertionResults: b },
      ],
    });
    const everywhere = ['one', 'two'].flatMap((world) => [
      test(`a: ${world}`, 'first'),
      test(`a: ${world}`, 'second'),
    ]);
    const unit = [test('b', 'third'), test('b', 'fourth')];
    expect(missingIn(report(everywhere, unit), rows, '/checkout')).toEqual([]);
    expect(missingIn(report(everywhere.slice(1), unit), rows, '/checkout')).toEqual([
      '1 test/conformance/a.test.ts: first: not in one',
    ]);
    expect(missingIn(report(everywhere, [test('b', 'third', 'skipped')]), rows, '/checkout')).toEqual([
      '2 test/unit/b.test.ts: third: skipped in b',
      '2 test/unit/b.test.ts: fourth: did not run',
    ]);
    expect(missingIn({ testResults: [] }, rows, '/checkout')).toHaveLength(4);
  });
});
