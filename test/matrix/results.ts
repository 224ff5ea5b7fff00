/** The results of cells, one a line, the newest last. */
import { existsSync, readFileSync } from 'node:fs';
import type { BootResult } from '../vm/results.ts';

export const RESULTS = 'test/matrix/results.jsonl';

/** The sum of the boots of a cell; a field of text has what they had, with commas. */
export interface CellResult extends Omit<BootResult, 'machine' | 'failures'> {
  /** Which cell it is of. */
  readonly key: string;
  /** Names of the tests that failed. */
  readonly failures: readonly string[];
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
