/** A row of the bench: what is measured, and what it has to reach. */
import type { Sample } from './measure.ts';

/** At most so much, in one of four ways. */
export type Target =
  /** Times what the other side takes. */
  | { readonly ratio: number }
  /** Nanoseconds an operation. */
  | { readonly time: number }
  /** Nanoseconds more than the other side takes. */
  | { readonly added: number }
  /** Of something counted. */
  | { readonly count: string; readonly most: number };

/** What a row has found out. */
export interface Outcome {
  readonly ours?: Sample;
  readonly theirs?: Sample;
  /** By the names that targets use, with a unit where one is needed. */
  readonly counts?: Readonly<Record<string, number>>;
}

export interface Row {
  readonly name: string;
  /** None: for comparison only. */
  readonly targets: readonly Target[];
  /** Where it runs: anywhere, or in the virtual machine with VFIO. */
  readonly world?: 'vm';
  run(): Outcome | Promise<Outcome>;
}
