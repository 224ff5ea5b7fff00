/**
 * Writes the figures of several runs of the bench into docs/performance.md, one column a run.
 *
 *   figures.js FILE...    what `npm run bench -- --json FILE` wrote, for example one file a version of Node.js
 *
 * What misses its target in any run comes first.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { tableLines, withPart } from '../document-part.ts';
import type { Summary, Verdict } from './judge.ts';
import type { RowReport, surroundings } from './report.ts';
import type { Target } from './row.ts';
import { short } from './table.ts';

type Run = ReturnType<typeof surroundings> & {
  readonly loadAtEnd: number;
  readonly rows: readonly RowReport[];
};

const DOCUMENT = 'docs/performance.md';

/** Nanoseconds, or milliseconds where they are long. */
function time(value: number): string {
  return Math.abs(value) >= 1e6 ? `${short(value / 1e6)} ms` : short(value);
}

function limitOf(target: Target): string {
  if ('count' in target) return `${target.most} ${target.count}`;
  if ('ratio' in target) return `${target.ratio} x`;
  const [limit, other] = 'time' in target ? [target.time, ''] : [target.added, 'C + '];
  return `${other}${time(limit)}${limit >= 1e6 ? '' : ' ns'}`;
}

/** The median, and the fastest round in brackets. Bold is short of the target in both. */
function figureOf(verdict: Verdict | undefined): string {
  if (verdict === undefined) return '';
  const { target, median, best, mark } = verdict;
  const show = 'time' in target || 'added' in target ? time : short;
  const middle = mark === 'short' ? `**${show(median)}**` : show(median);
  return 'count' in target ? middle : `${middle} (${show(best)})`;
}

/** One line a target; a row without one has its time. */
function linesOf(name: string, runs: readonly Run[]): string[][] {
  const found = runs.map(({ rows }) => rows.find((row) => row.name === name));
  const [first] = found.filter((row) => row !== undefined);
  const timed = (summary: Summary | undefined) =>
    summary === undefined ? '' : `${time(summary.median)} (${time(summary.best)})`;
  const theirs = timed(first?.theirs);
  const targets = first?.verdicts ?? [];
  if (targets.length === 0) return [[name, '-', theirs, ...found.map((row) => timed(row?.ours))]];
  return targets.map(({ target }, i) => [
    ...(i === 0 ? [name, limitOf(target), theirs] : ['', limitOf(target), '']),
    ...found.map((row) => figureOf(row?.verdicts[i])),
  ]);
}

function tableOf(names: readonly string[], runs: readonly Run[]): string {
  const versions = runs.map(({ node }) => node.slice(1).split('.').slice(0, 2).join('.'));
  const head = ['Row', 'Target', 'Theirs, ns', ...versions];
  const rows = names.flatMap((name) => linesOf(name, runs));
  return `${tableLines(head, rows).join('\n')}\n`;
}

const runs = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')) as Run);
const [run] = runs;
if (run === undefined) throw new Error('name the files that the bench wrote');
const names = [...new Set(runs.flatMap(({ rows }) => rows.map(({ name }) => name)))];
const isMissed = (name: string) =>
  runs.some(({ rows }) =>
    rows.find((row) => row.name === name)?.verdicts.some(({ mark }) => mark !== 'pass'),
  );
const loads = runs.flatMap(({ load, loadAtEnd }) => [load, loadAtEnd]);
const range = `${Math.min(...loads).toFixed(1)} to ${Math.max(...loads).toFixed(1)}`;
const text = [
  `${run.date.slice(0, 10)}, ${run.processor}, ${run.system}, load ${range}.\n`,
  '### Short of a target\n',
  tableOf(names.filter(isMissed), runs),
  '### Within every target, or without one\n',
  tableOf(
    names.filter((name) => !isMissed(name)),
    runs,
  ),
].join('\n');
writeFileSync(DOCUMENT, withPart(readFileSync(DOCUMENT, 'utf8'), 'figures', text));
