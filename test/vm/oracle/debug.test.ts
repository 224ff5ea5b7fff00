/** The kernel's dma-debug and the library's see the same mistakes, and have to report the same. */
import { randomInt } from 'node:crypto';
import { afterAll, assert, beforeAll, describe, it } from '../../harness.ts';
import { Kernel, memoryRanges } from '../../oracle/kernel.ts';
import { KernelLog } from '../../oracle/kernel-log.ts';
import { Library } from '../../oracle/library.ts';
import { mistakesOf } from '../../oracle/mistakes.ts';
import { settingsOf } from '../../oracle/settings.ts';
import { Random } from '../../random.ts';

const setting = settingsOf(process.env.USERDMA_VM!).at(-1)!;
const seed = Number(process.env.USERDMA_TEST_SEED ?? randomInt(2 ** 31));
const rounds = Number(process.env.USERDMA_TEST_RUNS ?? 20);

describe(`reports of dma-debug, seed ${seed}`, () => {
  let log: KernelLog;
  let kernel: Kernel;

  beforeAll(() => {
    log = new KernelLog();
    kernel = new Kernel(process.env.USERDMA_TEST_MODULE!);
  });

  afterAll(() => log.close());

  it('the same mistakes are reported', async () => {
    const library = await Library.open(setting, memoryRanges(), true);
    const random = new Random(seed);
    const differences: string[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const { name, requests, known } of mistakesOf(setting, random)) {
        kernel.run(requests);
        for (const request of requests) library.run(request);
        const theirs = log.reports().join(' ');
        const ours = library.takeReports().join(' ');
        const expected = known ?? theirs;
        if (ours === expected && (known === undefined || theirs !== ours)) continue;
        differences.push(`${name}: the kernel reports ${theirs}, the library ${ours} (round ${round})`);
      }
    }
    library.close();
    assert.deepEqual(differences.slice(0, 10), []);
  });

  it('what is left when the driver goes is reported once', async () => {
    const library = await Library.open(setting, memoryRanges(), true);
    const request = { op: 'map', slot: 2, buffer: 0, offset: 0, size: 4096, dir: 0 } as const;
    kernel.run([request]);
    library.run(request);
    kernel.close();
    library.close();
    const ours = library.takeReports();
    assert.deepEqual(ours, ['pending-at-close']);
    assert.deepEqual(log.reports(), ours);
  });
});
