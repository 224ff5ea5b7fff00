/** What a run has found, for the table and for machines. */
import { arch, cpus, loadavg, release } from 'node:os';
import { judge, ratioOf, type Summary, summarise, type Verdict } from './judge.ts';
import { QUICK } from './measure.ts';
import type { Outcome, Row } from './row.ts';

export interface RowReport {
  readonly name: string;
  readonly ours?: Summary;
  readonly theirs?: Summary;
  /** Median over the rounds. */
  readonly ratio?: number;
  readonly counts?: Readonly<Record<string, number>>;
  readonly verdicts: readonly Verdict[];
  /** Why there is nothing else. */
  readonly failure?: string;
}

export function reportOf({ name, targets }: Row, outcome: Outcome): RowReport {
  const { ours, theirs, counts } = outcome;
  return {
    name,
    ...(ours !== undefined && { ours: summarise(ours) }),
    ...(theirs !== undefined && { theirs: summarise(theirs) }),
    ...(ours !== undefined && theirs !== undefined && { ratio: ratioOf(ours, theirs) }),
    ...(counts !== undefined && { counts }),
    verdicts: targets.map((target) => judge(target, outcome)),
  };
}

/** Where and when it was measured. */
export function surroundings() {
  return {
    date: new Date().toISOString(),
    node: process.version,
    v8: process.versions.v8,
    system: `${process.platform} ${release()} ${arch()}`,
    processor: `${cpus()[0]?.model ?? 'unknown'} x ${cpus().length}`,
    load: loadavg()[0]!,
    quick: QUICK,
    vm: process.env.USERDMA_VM ?? null,
  };
}
