/**
 * The drivers of the examples on devices that lie in everything they may return. Whatever the device says: no call fails but
 * with a DmaError, every promise settles, no memory is touched or kept beyond what the device was lent, and when the device
 * is reset and honest again everything works.
 * USERDMA_TEST_RUNS says how many rounds each driver makes; USERDMA_TEST_SEED repeats a failure: it is that of the first round.
 */
import { describe, expect, it } from 'vitest';
import { openPci, type PciFunction } from '../../lib/index.ts';
import { type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { eachOf, Random } from '../nvme/random.ts';
import { Liar } from './liar.ts';
import { type Loaded, mayFail, type Suspect, suspects } from './suspects.ts';

const ROUNDS = Number(process.env.USERDMA_TEST_RUNS ?? 300);
const MILLISECONDS_PER_ROUND = 1000;
/** Rounds at once: most of their time they wait. */
const WIDTH = 24;
/** Milliseconds after which a promise is taken for lost. */
const LOST = 60_000;

function anyMachine(random: Random): SimulateOptions {
  return {
    iommu: random.below(4) > 0,
    coherent: random.below(3) > 0,
    forceDac: random.below(2) === 0,
    foreignPageOffset: random.below(256) * 16,
    ...(random.below(3) === 0 && {
      lag: { seed: random.below(2 ** 32), microseconds: 1 + random.below(100) },
    }),
  };
}

async function settled<T>(what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const lost = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} does not end`)), LOST);
  });
  try {
    return await Promise.race([work, lost]);
  } finally {
    clearTimeout(timer);
  }
}

function expectNothingKept(fn: PciFunction): void {
  const kept = fn.dma.debug!.reports.filter(({ kind }) => kind === 'pending-at-close');
  expect(kept.map(({ message }) => message)).toEqual([]);
}

async function close(fn: PciFunction, loaded: Loaded | undefined, pullOut: () => void): Promise<void> {
  const end = (): Promise<void> => mayFail(async () => loaded?.close());
  await settled('close', end());
  if (!fn.closed && fn.dma.debug!.entries.used > 0) {
    // A device that cannot be stopped keeps the memory that it may still use.
    pullOut();
    await settled('close of a device that is gone', end());
  }
  fn.close();
  expectNothingKept(fn);
}

async function lie(suspect: Suspect, random: Random): Promise<void> {
  const liar = new Liar(suspect.model(random), random);
  const source = simulate(liar, anyMachine(random));
  const fn = await openPci(source, { debug: { print: false } });
  liar.lying = random.below(3) === 0;
  const load = (): Promise<Loaded> => suspect.load(fn, random, false);
  const loaded = await settled('load', mayFail(load));
  liar.lying = true;
  if (loaded !== undefined) {
    for (let deeds = 1 + random.below(6); deeds > 0; deeds--) await settled('a deed', loaded.deed(random));
    liar.lying = random.below(2) === 0;
    if (!liar.lying)
      await settled(
        'traffic after a reset',
        mayFail(() => resetAndWork(loaded, random)),
      );
  }
  await close(fn, loaded, () => source.unplug());
  liar.lying = false;
  // As after power-up: the device may have kept what the lies have made of it.
  source.unplug();
  source.plugIn();
  const again = await openPci(source, { debug: { print: false } });
  const honest = await settled('load, honest', suspect.load(again, random, true));
  await settled('traffic', honest.works(random));
  await settled('traffic after a reset, honest', resetAndWork(honest, random));
  await close(again, honest, () => expect.unreachable('an honest device is stopped'));
}

async function resetAndWork(loaded: Loaded, random: Random): Promise<void> {
  if (loaded.reset === undefined) return;
  await loaded.reset();
  await loaded.works(random);
}

describe('Devices that lie', () => {
  for (const suspect of suspects) {
    it(
      `${suspect.name} survives ${ROUNDS} of them`,
      async () => {
        const { seed } = new Random();
        const rounds = Array.from({ length: ROUNDS }, (_, round) => seed + round);
        await eachOf(rounds, WIDTH, async (one) => {
          try {
            await lie(suspect, new Random(one));
          } catch (error) {
            throw new Error(`seed ${one}: ${String(error)}`, { cause: error });
          }
        });
      },
      LOST + ROUNDS * MILLISECONDS_PER_ROUND,
    );
  }
});
