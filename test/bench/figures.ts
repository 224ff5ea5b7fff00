/**
 * Writes the figures of several runs of the bench into docs/performance.md, one column a run.
 *
 *   figures.js FILE...    what `npm run bench -- --json FILE` wrote, for example one file a version of Node.js
 *
 * What misses its target in any run comes first.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Verdict } from './judge.ts';
import type { RowReport, surroundings } from './report.ts';
import type { Target } from './row.ts';
import { short } from './table.ts';

type Run = ReturnType<typeof surroundings> & {
  readonly loadAtEnd: number;
  readonly rows: readonly RowReport[];
};

const DOCUMENT = 'docs/performance.md';
const BEGIN = '<!-- figures -->\n';
const END = '<!-- end of figures -->\n';

function limitOf(target: Target): string {
  if ('count' in target) return `${target.most} ${target.count}`;
  if ('ratio' in target) return `${target.ratio} x`;
  return 'time' in target ? `${short(target.time)} ns` : `C + ${short(target.added)} ns`;
}

/** Bold is short of the target; the fastest round stands beside a median that only it mends. */
function figureOf(verdict: Verdict | undefined): string {
  if (verdict === undefined) return '';
  const { median, best, mark } = verdict;
  if (mark === 'pass') return short(median);
  return mark === 'short' ? `**${short(median)}** (${short(best)})` : `${short(median)} (${short(best)})`;
}

/** One line a target; a row without one has its time, or what it counted. */
function linesOf(name: string, runs: readonly Run[]): string[][] {
  const found = runs.map(({ rows }) => rows.find((row) => row.name === name));
  const [first] = found.filter((row) => row !== undefined);
  const theirs = first?.theirs === undefined ? '' : short(first.theirs.median);
  const targets = first?.verdicts ?? [];
  if (targets.length === 0) {
    return [
      [name, '-', theirs, ...found.map((row) => (row?.ours === undefined ? '' : short(row.ours.median)))],
    ];
  }
  return targets.map(({ target }, i) => [
    ...(i === 0 ? [name, limitOf(target), theirs] : ['', limitOf(target), '']),
    ...found.map((row) => figureOf(row?.verdicts[i])),
  ]);
}

function tableOf(names: readonly string[], runs: readonly Run[]): string {
  const versions = runs.map(({ node }) => node.slice(1).split('.').slice(0, 2).join('.'));
  const head = ['Row', 'Target', 'Theirs, ns', ...versions];
  const lines = [head, head.map(() => '---'), ...names.flatMap((name) => linesOf(name, runs))];
  return lines.map((cells) => `| ${cells.join(' | ')} |\n`).join('');
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
const document = readFileSync(DOCUMENT, 'utf8');
const begin = document.indexOf(BEGIN);
const end = document.indexOf(END);
if (begin < 0 || end < begin) throw new Error(`${DOCUMENT} has no place for the figures`);
writeFileSync(DOCUMENT, document.slice(0, begin + BEGIN.length) + text + document.slice(end));
