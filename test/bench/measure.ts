/**
 * Two loops measured against each other. Each runs in batches of a few milliseconds, in turn, so that whatever else
 * the machine does hits both; what is compared is the two batches of one round.
 *
 *      warm-up | ours theirs | theirs ours | ours theirs | ...        round by round, until the time is used up
 *
 * Before each batch a shorter one runs that is not timed: it brings back into the caches what the other side threw out.
 */

/** `count` times what is measured. */
export type Loop = (count: number) => void;

/** One side of a comparison. */
export interface Side {
  readonly label: string;
  /** Runs `count` rounds; nanoseconds they took. */
  readonly timed: (count: number) => number;
  /** Operations in a round. */
  readonly operations: number;
}

/** Nanoseconds per operation, one figure a round; both sides have as many. */
export interface Sample {
  readonly label: string;
  readonly rounds: readonly number[];
}

export interface Comparison {
  readonly ours: Sample;
  readonly theirs: Sample;
}

/** Shorter, for a run that only shows that every row works. */
export const QUICK = process.env.USERDMA_BENCH_QUICK === '1';

/** An emulated processor takes its time until code is optimised. */
const PATIENCE = process.env.USERDMA_VM === undefined ? 1 : 20;
/** Nanoseconds. */
const BATCH = QUICK ? 3e5 : 3e6;
const WARM_UP = PATIENCE * (QUICK ? 3e7 : 3e8);
const BUDGET = QUICK ? 6e7 : 1.2e9;
const FEWEST_ROUNDS = 11;

/** A loop in JavaScript. @param operations in one round of it */
export function loop(label: string, run: Loop, operations = 1): Side {
  const timed = (count: number): number => {
    const start = performance.now();
    run(count);
    return (performance.now() - start) * 1e6;
  };
  return { label, timed, operations };
}

/** A loop in C, timed there. */
export function inC(label: string, timed: (count: number) => number, operations = 1): Side {
  return { label: `C ${label}`, timed, operations };
}

export function compare(ours: Side, theirs: Side): Comparison {
  const runOurs = prepare(ours);
  const runTheirs = prepare(theirs);
  const result = {
    ours: { label: ours.label, rounds: [] as number[] },
    theirs: { label: theirs.label, rounds: [] as number[] },
  };
  const end = performance.now() + BUDGET / 1e6;
  for (let round = 0; round < FEWEST_ROUNDS || performance.now() < end; round++) {
    if (round % 2 === 0) result.ours.rounds.push(runOurs());
    result.theirs.rounds.push(runTheirs());
    if (round % 2 === 1) result.ours.rounds.push(runOurs());
  }
  return result;
}

/** Warms a side up and finds out how many rounds a batch takes. The result runs one batch: nanoseconds an operation. */
function prepare({ timed, operations }: Side): () => number {
  let count = 1;
  let took = timed(count);
  for (let spent = took; spent < WARM_UP || took < BATCH; spent += took) {
    if (took < BATCH) count *= 2;
    took = timed(count);
  }
  const batch = Math.max(1, Math.round((count * BATCH) / took));
  const leadIn = Math.ceil(batch / 3);
  return () => {
    timed(leadIn);
    return timed(batch) / (batch * operations);
  };
}
