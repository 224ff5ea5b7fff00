/** The results of cells, one a line, the newest last. */
import { existsSync, readFileSync } from 'node:fs';

export const RESULTS = 'test/matrix/results.jsonl';

export interface CellResult {
  /** Which cell it is of. */
  readonly key: string;
  readonly architecture: string;
  readonly linux: string;
  readonly qemu: string;
  readonly iommu: string;
  readonly node: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  /** Names of the tests that failed. */
  readonly failures: readonly string[];
  /** Of each skipped test. */
  readonly reasons: readonly string[];
  readonly date: string;
  /** With a + where files were changed. */
  readonly commit: string;
}

/** The newest result of each cell, by its key. */
export function readResults(path = RESULTS): Map<string, CellResult> {
  const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : [];
  const results = lines.flatMap((line) => (line === '' ? [] : [JSON.parse(line) as CellResult]));
  return new Map(results.map((result) => [result.key, result]));
}
