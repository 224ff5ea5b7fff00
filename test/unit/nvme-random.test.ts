/** Lives of the NVMe driver by the dice: whatever happens, every promise settles, and nothing is left behind. */
import { expect, it } from 'vitest';
import { NvmeController } from '../../examples/nvme/controller.ts';
import type { Namespace } from '../../examples/nvme/namespace.ts';
import { openPci } from '../../lib/index.ts';
import { FaultInjector, NvmeModel, type SimulatedSource, simulate } from '../../lib/sim/index.ts';
import { expectNoDmaErrors } from '../../lib/testing/index.ts';
import { Random } from '../random.ts';

const LIVES = 150;
const DEEDS = 40;
const BLOCK = 512;
/** Milliseconds after which a promise is taken for lost. */
const LOST = 10_000;
const MISHAPS = [
  ...(['interrupt-lost', 'iommu-fault', 'read-all-ones', 'bounce-full', 'no-memory'] as const),
  ...(['map-limit', 'reset-fails', 'device-gone', 'completion-delayed'] as const),
];

function anyOptions(random: Random) {
  return {
    timeout: 16,
    queues: 1 + random.below(3),
    depth: 1 + random.below(6),
    completions: random.below(2) === 0 ? 'poll' : 'interrupt',
    sgl: random.below(2) === 0,
  } as const;
}

function transfer(disk: Namespace, random: Random): Promise<void> {
  const blocks = 1 + random.below(40);
  const bytes = new Uint8Array(blocks * BLOCK + 1).subarray(random.below(2)).subarray(0, blocks * BLOCK);
  return random.below(2) === 0 ? disk.read(random.below(50), bytes) : disk.write(random.below(50), bytes);
}

/** Something that ends, or undefined. */
function deed(
  random: Random,
  nvme: NvmeController,
  disk: Namespace,
  source: SimulatedSource,
): Promise<unknown> | undefined {
  switch (random.below(40)) {
    case 0:
      return nvme.close();
    case 1:
      source.unplug();
      return undefined;
    case 2:
      source.reportError();
      return undefined;
    case 3:
      return source.requestRelease();
    case 4:
    case 5:
      return nvme.reset();
    case 6:
      return nvme.admin.health();
    case 7:
      return disk.trim(random.below(100), 5);
    case 8:
    case 9:
      return new Promise((resolve) => setImmediate(resolve));
    default:
      return transfer(disk, random);
  }
}

async function live(random: Random): Promise<void> {
  const inject = new FaultInjector({ seed: random.seed });
  const source = simulate(new NvmeModel({ latency: 20 * random.below(3) }), { inject });
  const fn = await openPci(source);
  const nvme = await NvmeController.open(fn, anyOptions(random));
  const disk = await nvme.namespace(1);
  for (let i = random.below(3); i > 0; i--) {
    const kind = MISHAPS[random.below(MISHAPS.length)]!;
    inject.on(kind, {
      nth: 1 + random.below(60),
      ...(kind === 'completion-delayed' ? { microseconds: Number.POSITIVE_INFINITY } : {}),
    });
  }
  const deeds: Promise<unknown>[] = [];
  for (let i = 0; i < DEEDS; i++) {
    const begun = deed(random, nvme, disk, source);
    begun?.catch(() => {});
    if (begun !== undefined) deeds.push(begun);
    if (random.below(4) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  let timer: NodeJS.Timeout | undefined;
  const lost = new Promise<'lost'>((resolve) => {
    timer = setTimeout(resolve, LOST, 'lost');
  });
  expect(await Promise.race([Promise.allSettled(deeds), lost])).not.toBe('lost');
  clearTimeout(timer);
  await nvme.close().catch(() => {});
  expect([fn.closed, fn.dma.live.length, nvme.queues.map(({ pair }) => pair.busy)]).toEqual([
    true,
    0,
    nvme.queues.map(() => 0),
  ]);
  expectNoDmaErrors(fn.dma);
}

it(`lives of the NVMe driver, ${LIVES} of them`, async () => {
  for (let i = 0; i < LIVES; i++) {
    const random = new Random();
    try {
      await live(random);
    } catch (error) {
      throw new Error(`seed ${random.seed}`, { cause: error });
    }
  }
}, 120_000);
