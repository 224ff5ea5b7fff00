/**
 * The drivers of the examples on devices that lie in everything they may return. Whatever the device says: no call fails but
 * with a DmaError, every promise settles, no memory is touched or kept beyond what the device was lent, and when the device
 * is reset and honest again everything works.
 * A round is a deed of a driver on a device that lies. USERDMA_TEST_RUNS says how many each driver makes; USERDMA_TEST_SEED
 * repeats a failure: it is that of the first opening.
 */
import { describe, expect, it } from 'vitest';
import { type OpenPciOptions, openPci, type PciFunction } from '../../lib/index.ts';
import { type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { eachOf, Random } from '../random.ts';
import { impossibleBars, withLyingConfig } from './config.ts';
import { Liar } from './liar.ts';
import { type Loaded, mayFail, type Suspect, suspects } from './suspects.ts';

const ROUNDS = Number(process.env.USERDMA_TEST_RUNS ?? 100);
/** Functions with impossible BARs. */
const OPENINGS = Math.ceil(ROUNDS / 10);
/** Deeds at most from one opening to the next: many when there are many in all, so that most of the time is theirs. */
const DEEDS = ROUNDS > 10_000 ? 40 : 6;
const MILLISECONDS_PER_ROUND = 1000;
/** Openings at once: most of their time they wait. */
const WIDTH = Number(process.env.USERDMA_TEST_WIDTH ?? 24);
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

/** A small bounce buffer: most of the time of an opening would be that of the memory. */
const OPEN: OpenPciOptions = { debug: { print: false }, streaming: { bounce: { total: 2 ** 19 } } };

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

/** @returns how many deeds there were */
async function lie(suspect: Suspect, random: Random): Promise<number> {
  const liar = new Liar(suspect.model(random), random);
  const source = simulate(liar, anyMachine(random));
  liar.lying = random.below(3) === 0;
  const opened = random.below(2) === 0 ? source : withLyingConfig(source, random, () => liar.lying);
  const fn = await openPci(opened, OPEN);
  const load = (): Promise<Loaded> => suspect.load(fn, random, false);
  const loaded = await settled('load', mayFail(load));
  liar.lying = true;
  // To load a driver is a deed.
  let deeds = 1;
  const wanted = 2 + random.below(DEEDS);
  if (loaded !== undefined) {
    for (; deeds < wanted; deeds++) await settled('a deed', loaded.deed(random));
    liar.lying = random.below(2) === 0;
    // A driver changes bits of a configuration register that it has read: only power-up mends what lies made of it.
    if (!liar.lying && opened === source)
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
  const again = await openPci(source, OPEN);
  const honest = await settled('load, honest', suspect.load(again, random, true));
  await settled('traffic', honest.works(random));
  await settled('traffic after a reset, honest', resetAndWork(honest, random));
  await close(again, honest, () => expect.unreachable('an honest device is stopped'));
  return deeds;
}

/** A function whose BARs are impossible is refused, and nothing is kept. */
async function refuse(suspect: Suspect, random: Random): Promise<void> {
  const liar = new Liar(suspect.model(random), random);
  Object.defineProperty(liar, 'bars', { value: impossibleBars(liar, random) });
  const fn = await openPci(simulate(liar, anyMachine(random)), OPEN);
  liar.lying = random.below(2) === 0;
  const loaded = await settled(
    'load',
    mayFail(() => suspect.load(fn, random, false)),
  );
  if (loaded !== undefined) await settled('a deed', loaded.deed(random));
  liar.lying = false;
  await close(fn, loaded, () => {});
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
        let done = 0;
        let openings = 0;
        const one = async (): Promise<void> => {
          const own = seed + openings++;
          try {
            // Not `done += await`, which would add to what was done before the wait.
            const deeds = await lie(suspect, new Random(own));
            done += deeds;
          } catch (error) {
            throw new Error(`seed ${own}: ${String(error)}`, { cause: error });
          }
        };
        const some = async (): Promise<void> => {
          while (done < ROUNDS) await one();
        };
        await Promise.all(Array.from({ length: WIDTH }, some));
        if (ROUNDS > 10_000)
          console.log(`${suspect.name}: ${done} rounds in ${openings} openings from ${seed}`);
      },
      LOST + ROUNDS * MILLISECONDS_PER_ROUND,
    );

    it(
      `${suspect.name} refuses ${OPENINGS} with impossible BARs`,
      async () => {
        const { seed } = new Random();
        const seeds = Array.from({ length: OPENINGS }, (_, round) => seed + round);
        await eachOf(seeds, WIDTH, async (own) => {
          try {
            await refuse(suspect, new Random(own));
          } catch (error) {
            throw new Error(`seed ${own}: ${String(error)}`, { cause: error });
          }
        });
      },
      LOST + OPENINGS * MILLISECONDS_PER_ROUND,
    );
  }
});
