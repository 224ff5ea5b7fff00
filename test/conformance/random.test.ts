/**
 * Random sequences of everything a driver does, against the reference, in every world. A failure names the seed and
 * the shortest sequence that fails; USERDMA_TEST_SEED repeats it. USERDMA_TEST_OPERATIONS: how many, all worlds
 * together.
 */
import { randomInt } from 'node:crypto';
import fc from 'fast-check';
import { assert, describe, it } from '../harness.ts';
import { RandomDriver } from './random-driver.ts';
import { actions, type Operation } from './random-operations.ts';
import { type World, worlds } from './worlds.ts';

const simulated = worlds.every((world) => world.simulated);
const total = Number(process.env.USERDMA_TEST_OPERATIONS ?? (simulated ? 200_000 : 5000));
const seed = Number(process.env.USERDMA_TEST_SEED ?? randomInt(2 ** 31));

/** Operations of one sequence at most: long enough for handles, slots and addresses to be used again. */
const LONGEST = simulated ? 4000 : 500;
/** Milliseconds spent on making a failing sequence shorter. */
const PATIENCE = 30_000;

const number = fc.nat(0xffff);
const sequence = fc.array(fc.tuple(fc.nat(0xffff), number, number, number), {
  maxLength: LONGEST,
  size: 'max',
});

interface Run {
  /** What was done; operations that found nothing to do are left out. */
  readonly trace: readonly string[];
}

interface Failure extends Run {
  readonly error: unknown;
  /** Operations up to the one that failed. */
  readonly operations: readonly Operation[];
}

async function run(world: World, operations: readonly Operation[]): Promise<Run | Failure> {
  using open = await world.open();
  const driver = await RandomDriver.start(world, open);
  let done = 0;
  try {
    const choice = actions(world);
    for (; done < operations.length; done++) {
      const [kind, a, b, c] = operations[done]!;
      await choice[kind % choice.length]!(driver, a, b, c);
    }
    driver.finish();
    return { trace: driver.trace };
  } catch (error) {
    return { error, trace: driver.trace, operations: operations.slice(0, done + 1) };
  }
}

function isFailure(result: Run | Failure): result is Failure {
  return 'error' in result;
}

/** Leave out ever smaller pieces, as long as what is left fails too. */
async function shorten(world: World, failure: Failure): Promise<Failure> {
  const deadline = Date.now() + PATIENCE;
  let shortest = failure;
  let size = failure.operations.length >> 1;
  while (size > 0 && Date.now() < deadline) {
    const before = shortest.operations.length;
    for (let at = 0; at < shortest.operations.length && Date.now() < deadline; ) {
      const { operations } = shortest;
      const shorter = await run(world, [...operations.slice(0, at), ...operations.slice(at + size)]);
      if (isFailure(shorter)) shortest = shorter;
      else at += size;
    }
    if (size > 1 || shortest.operations.length === before) size >>= 1;
  }
  return shortest;
}

function explain(world: World, from: number, length: number, { error, trace }: Failure): Error {
  const steps = trace.map((step, i) => `  ${i + 1}. ${step}`);
  const head = `${String(error)}\nin world '${world.name}', after the ${steps.length} steps below (of ${length})`;
  return new Error(`${head}; USERDMA_TEST_SEED=${from} repeats it\n${steps.join('\n')}`, { cause: error });
}

describe('random operations', () => {
  for (const world of worlds) {
    const wanted = Math.ceil(total / worlds.length);
    it(`on ${world.name}: ${wanted}, from seed ${seed}`, async () => {
      let done = 0;
      const property = fc.asyncProperty(sequence, async (operations) => {
        if (done >= wanted) return;
        const result = await run(world, operations);
        done += result.trace.length;
        if (isFailure(result)) throw explain(world, seed, done, await shorten(world, result));
      });
      for (let round = 0; done < wanted; round++) {
        const options = { seed: (seed + round) | 0, numRuns: 5, endOnFailure: true };
        const { errorInstance } = await fc.check(property, options);
        if (errorInstance !== null && errorInstance !== undefined) throw errorInstance;
      }
      assert.ok(done >= wanted);
    }, 600_000);
  }
});
