/**
 * The tests that docs/conformance.md names, and whether they ran.
 *
 *   statements.js REPORT.json    the JSON report of a complete vitest run; lists what did not pass, and ends with status 1
 */
import { readFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** A statement of the document. */
export interface Statement {
  readonly number: number;
  /** The cell that names its tests, or says why there is none. */
  readonly cell: string;
}

export interface NamedTest {
  /** From the project's folder on. */
  readonly file: string;
  readonly title: string;
}

/** The part of vitest's JSON report that is read here. */
export interface Report {
  readonly testResults: readonly {
    /** Path of the test file. */
    readonly name: string;
    readonly assertionResults: readonly {
      readonly ancestorTitles: readonly string[];
      readonly title: string;
      readonly status: string;
    }[];
  }[];
}

/** The statements of the document, in its order. */
export function statementsIn(document: string): Statement[] {
  return document.split('\n').flatMap((line) => {
    const found = /^\| (\d+) \| .+? \| (.+) \|$/.exec(line);
    return found === null ? [] : [{ number: Number(found[1]), cell: found[2]! }];
  });
}

/** The worlds of the document's table. @param iommu only those with one, or without. Default: all */
export function worldsIn(document: string, iommu?: 'yes' | 'no'): string[] {
  const table = /\| World \|.*\n\|[-|]+\|\n((?:\|.*\n)+)/.exec(document)?.[1] ?? '';
  const rows = [...table.matchAll(/^\| (.+?) \| (\w*)/gm)];
  return rows.filter(([, , has]) => iommu === undefined || has === iommu).map(([, world]) => world!);
}

/** The tests that a statement names. */
export function testsOf({ cell }: Statement): NamedTest[] {
  return cell.split('; `').flatMap((part) => {
    const file = /^`?([^`]+\.test\.ts)`: /.exec(part)?.[1];
    if (file === undefined) return [];
    return [...part.matchAll(/"([^"]+)"/g)].map(([, title]) => ({ file: `test/${file}`, title: title! }));
  });
}

/** What is missing in a report: tests that did not pass, or not in each world that their file runs in. */
export function missingIn(report: Report, document: string, root: string): string[] {
  const files = new Map(report.testResults.map((file) => [relative(root, file.name), file.assertionResults]));
  const worlds = worldsIn(document);
  return statementsIn(document).flatMap((statement) => {
    const wanted = worldsIn(document, halfOf(statement));
    return testsOf(statement).flatMap(({ file, title }) => {
      const all = files.get(file) ?? [];
      // The name of a test, or of tests that belong together.
      const named = all.filter((test) =>
        [...test.ancestorTitles, test.title].some((one) => one.includes(title)),
      );
      const about = `${statement.number} ${file}: ${title}`;
      if (named.length === 0) return [`${about}: did not run`];
      const failed = named.filter(({ status }) => status !== 'passed');
      if (failed.length > 0)
        return failed.map(({ status, ancestorTitles }) => `${about}: ${status} in ${ancestorTitles}`);
      const inWorld = (tests: typeof all, world: string) =>
        tests.some(({ ancestorTitles }) => ancestorTitles.some((one) => one.endsWith(`: ${world}`)));
      // A file that runs in one of the worlds runs in all of them.
      if (!worlds.some((world) => inWorld(all, world))) return [];
      return wanted.filter((world) => !inWorld(named, world)).map((world) => `${about}: not in ${world}`);
    });
  });
}

/** The worlds that a statement is about. */
function halfOf({ cell }: Statement): 'yes' | 'no' | undefined {
  if (cell.includes('(where there is an IOMMU)')) return 'yes';
  return cell.includes('(where there is no IOMMU)') ? 'no' : undefined;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = resolve(import.meta.dirname, '../..');
  const report = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Report;
  const missing = missingIn(report, readFileSync(resolve(root, 'docs/conformance.md'), 'utf8'), root);
  for (const line of missing) console.error(line);
  console.log(
    `statements: ${missing.length === 0 ? 'the tests of all of them passed' : `${missing.length} lack a test`}`,
  );
  process.exitCode = missing.length === 0 ? 0 : 1;
}
