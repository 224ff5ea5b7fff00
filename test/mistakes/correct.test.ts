/**
 * The driver without a mistake: however it runs, dma-debug has nothing to say. USERDMA_TEST_RUNS says how many runs, all
 * worlds together; USERDMA_TEST_SEED repeats those of a failure.
 */
import { randomInt } from 'node:crypto';
import { assert, describe, it } from '../harness.ts';
import { Random } from '../random.ts';
import { type Below, CorrectEdu } from './correct-driver.ts';
import { WORLDS, type World } from './worlds.ts';

const simulated = WORLDS.every((world) => world.simulated);
const total = Number(process.env.USERDMA_TEST_RUNS ?? (simulated ? 1000 : 100));
const seed = Number(process.env.USERDMA_TEST_SEED ?? randomInt(2 ** 31));

/** A transfer of the emulated device takes 100 ms of the guest's time, and a run has several. */
const MILLISECONDS_PER_RUN = 2000;

/** Runs until the function is closed and opened again. */
const RUNS_PER_OPENING = 250;

const RUNS: readonly ((edu: CorrectEdu, below: Below) => Promise<void>)[] = [
  (edu, below) => edu.throughPage(below),
  (edu, below) => edu.lent(below),
  (edu, below) => edu.inTurns(below),
  (edu, below) => edu.noncoherent(below),
  (edu, below) => edu.blocks(below),
  (edu, below) => edu.lists(below),
  (edu, below) => edu.linked(below),
];

/** One opening of the function. */
async function session(world: World, runs: number, from: number): Promise<void> {
  const random = new Random(from);
  const below: Below = (limit) => random.below(limit);
  const where = `${world.name}, seed ${seed}`;
  // Half of the time what is not very short is mapped in place, where that is possible.
  const streaming = below(2) === 0 ? { copybreak: 256 } : {};
  const fn = await world.open({ streaming, debug: { print: false, allErrors: true } });
  using edu = new CorrectEdu(fn, { dmaBits: world.dmaBits });
  const { debug } = fn.dma;
  for (let run = 0; run < runs; run++) {
    await RUNS[below(RUNS.length)]!(edu, below);
    assert.equal(debug!.errorCount, 0, `${where}, run ${run}: ${debug!.reports[0]?.message}`);
  }
  edu.close();
  const messages = debug!.reports.map(({ kind, message }) => `${kind}: ${message}`);
  assert.deepEqual(messages, [], `${where}, closed`);
}

describe('the driver without a mistake', () => {
  for (const world of WORLDS) {
    const runs = Math.ceil(total / WORLDS.length);
    it(
      `has nothing reported in ${runs} runs on ${world.name}, from seed ${seed}`,
      async () => {
        for (let done = 0; done < runs; done += RUNS_PER_OPENING) {
          await session(world, Math.min(RUNS_PER_OPENING, runs - done), seed + done);
        }
      },
      runs * MILLISECONDS_PER_RUN,
    );
  }
});
