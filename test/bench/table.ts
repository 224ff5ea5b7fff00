/** The table a person reads: one line a target, two for a row with two. */
import Table from 'cli-table3';
import colors from 'picocolors';
import type { Mark, Summary, Verdict } from './judge.ts';
import type { RowReport } from './report.ts';
import type { Target } from './row.ts';

/** Columns: a name, three figures, the target with its figure, its mark, and what ours is compared with. */
const COLUMNS = [
  { head: 'row', width: 54, align: 'left' },
  { head: 'ours, ns (best)', width: 20, align: 'right' },
  { head: 'theirs, ns (best)', width: 20, align: 'right' },
  { head: 'ratio', width: 11, align: 'right' },
  { head: 'target', width: 44, align: 'left' },
  { head: 'mark', width: 5, align: 'left' },
  { head: 'against', width: null, align: 'left' },
] as const;

const MARKS: Record<Mark, string> = {
  pass: colors.green('ok'),
  noise: colors.yellow('noise'),
  short: colors.red('short'),
};

export function header(): string {
  return line(COLUMNS.map(({ head }) => colors.bold(head)));
}

/** One or more lines. */
export function lines({ name, ours, theirs, ratio, verdicts, failure }: RowReport): string {
  const figures = [name, time(ours), time(theirs), ratio === undefined ? '' : `${short(ratio)} x`];
  if (failure !== undefined) return line([...figures, '', '', colors.red(`failed: ${failure}`)]);
  const against = theirs === undefined ? '' : colors.dim(theirs.label);
  if (verdicts.length === 0) return line([...figures, '', '-', against]);
  const targets = verdicts.map(describe).join('\n');
  const marks = verdicts.map((verdict) => MARKS[verdict.mark]).join('\n');
  return line([...figures, targets, marks, against]);
}

/** Rows are printed when they are measured, so that each is a table of its own. */
function line(cells: readonly string[]): string {
  const sides = ['top', 'bottom', 'left', 'right', 'mid'];
  const corners = sides.flatMap((side) => [side, `${side}-mid`, `${side}-left`, `${side}-right`]);
  const row = new Table({
    colWidths: COLUMNS.map(({ width }) => width),
    colAligns: COLUMNS.map(({ align }) => align),
    chars: { ...Object.fromEntries(corners.map((name) => [name, ''])), middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  });
  row.push([...cells]);
  return row.toString().trimEnd();
}

export function totals(reports: readonly RowReport[]): string {
  const marks = reports.flatMap(({ verdicts }) => verdicts.map((verdict) => verdict.mark));
  const count = (wanted: Mark) => marks.filter((found) => found === wanted).length;
  const failed = reports.filter(({ failure }) => failure !== undefined).length;
  const noise = `${count('noise')} only in the fastest rounds`;
  return `${marks.length} targets: ${count('pass')} reached, ${noise}, ${count('short')} short; ${failed} rows failed`;
}

/** `0.52 x of 0.6 x`, `7.1 of 8 ns`. */
function describe({ target, median, best }: Verdict): string {
  if ('count' in target) return `${short(median)} of ${target.most} ${target.count}`;
  return `${short(median)} (${short(best)}) of ${limit(target)}`;
}

function limit(target: Exclude<Target, { count: string }>): string {
  if ('ratio' in target) return `${target.ratio} x`;
  if ('time' in target) return `${short(target.time)} ns`;
  return `theirs + ${short(target.added)} ns`;
}

function time(summary: Summary | undefined): string {
  return summary === undefined ? '' : `${short(summary.median)} (${short(summary.best)})`;
}

/** Three digits that matter. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6 || (size < 0.001 && size > 0)) return value.toExponential(1);
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en');
  return size >= 10 ? value.toFixed(1) : size >= 0.1 ? value.toFixed(2) : value.toFixed(3);
}
