/** Whether a row has reached its targets. */
import { median as middleOf } from 'simple-statistics';
import type { Sample } from './measure.ts';
import type { Outcome, Target } from './row.ts';

/**
 * 'pass': the median is within the target. 'noise': only the fastest rounds are, so that the machine was too busy to
 * tell or the row is on the edge. 'short': not even these.
 */
export type Mark = 'pass' | 'noise' | 'short';

export interface Verdict {
  readonly target: Target;
  /** In the target's unit. For counts the two are the same. */
  readonly median: number;
  readonly best: number;
  readonly mark: Mark;
}

export interface Summary {
  readonly label: string;
  /** Nanoseconds an operation. */
  readonly median: number;
  readonly best: number;
  readonly rounds: number;
}

export function summarise({ label, rounds }: Sample): Summary {
  return { label, median: median(rounds), best: Math.min(...rounds), rounds: rounds.length };
}

/** @throws Error when the row did not measure what its target is about */
export function judge(target: Target, outcome: Outcome): Verdict {
  const [middle, best, most] = figures(target, outcome);
  const mark = middle <= most ? 'pass' : best <= most ? 'noise' : 'short';
  return { target, median: middle, best, mark };
}

/** Median, best and limit. */
function figures(target: Target, { ours, theirs, counts }: Outcome): [number, number, number] {
  if ('count' in target) {
    const value = counts?.[target.count];
    if (value === undefined) throw new Error(`nothing counted ${target.count}`);
    return [value, value, target.most];
  }
  if (ours === undefined) throw new Error('nothing was timed');
  const fastest = Math.min(...ours.rounds);
  if ('time' in target) return [median(ours.rounds), fastest, target.time];
  if (theirs === undefined) throw new Error('there is nothing to compare with');
  const fastestOther = Math.min(...theirs.rounds);
  if ('ratio' in target) return [ratioOf(ours, theirs), fastest / fastestOther, target.ratio];
  const added = median(ours.rounds.map((own, i) => own - theirs.rounds[i]!));
  return [added, fastest - fastestOther, target.added];
}

/** Median over the rounds of what ours takes of theirs. */
export function ratioOf(ours: Sample, theirs: Sample): number {
  return median(ours.rounds.map((own, i) => own / theirs.rounds[i]!));
}

/** Middle value; the mean of the two middle ones when there is none. */
export function median(values: readonly number[]): number {
  return middleOf([...values]);
}
