/** The table a person reads: one line a target, two for a row with two. */
import colors from 'picocolors';
import type { Mark, Summary, Verdict } from './judge.ts';
import type { RowReport } from './report.ts';
import type { Target } from './row.ts';

const WIDTHS = { name: 54, time: 20, factor: 11, figure: 36 } as const;

const MARKS: Record<Mark, string> = {
  pass: colors.green('ok'),
  noise: colors.yellow('noise'),
  short: colors.red('short'),
};

export function header(): string {
  const cells = [
    'row'.padEnd(WIDTHS.name),
    'ours, ns (best)'.padStart(WIDTHS.time),
    'theirs, ns (best)'.padStart(WIDTHS.time),
    'ratio'.padStart(WIDTHS.factor),
    '  target'.padEnd(WIDTHS.figure + 2),
    'mark  against',
  ];
  return colors.bold(cells.join(''));
}

/** One or more lines. */
export function lines({ name, ours, theirs, ratio, verdicts, failure }: RowReport): string {
  const left = [
    name.padEnd(WIDTHS.name),
    time(ours).padStart(WIDTHS.time),
    time(theirs).padStart(WIDTHS.time),
    (ratio === undefined ? '' : `${short(ratio)} x`).padStart(WIDTHS.factor),
  ].join('');
  if (failure !== undefined) return `${left}  ${colors.red(`failed: ${failure}`)}`;
  const against = theirs === undefined ? '' : colors.dim(theirs.label);
  if (verdicts.length === 0) return `${left}${''.padEnd(WIDTHS.figure + 2)}-      ${against}`;
  const blank = ''.padEnd(left.length);
  return verdicts
    .map((verdict, i) => {
      const target = `  ${describe(verdict)}`.padEnd(WIDTHS.figure + 2);
      return `${i === 0 ? left : blank}${target}${mark(verdict.mark)}${i === 0 ? against : ''}`;
    })
    .join('\n');
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

function mark(name: Mark): string {
  return MARKS[name] + ''.padEnd(7 - name.length + (name === 'pass' ? 2 : 0));
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
