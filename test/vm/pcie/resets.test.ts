/** A disk that is reset again and again while it is being used. */
import { NvmeController } from '../../../examples/nvme/controller.ts';
import { DmaError, openPci } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';
import { assertNoGrowth, holdings, memoryUse } from '../holdings.ts';

const TIMES = 100;
const WORKERS = 16;
const SIZE = 4096;

describe('a disk that is reset under load', () => {
  const address = device('USERDMA_TEST_NVME');

  /** Reads and writes its own blocks for as long as `running` says; counts what was cancelled. */
  async function use(
    disk: Awaited<ReturnType<NvmeController['namespace']>>,
    worker: number,
    counts: { done: number; cancelled: number },
    running: () => boolean,
  ): Promise<void> {
    const sent = new Uint8Array(SIZE);
    const received = new Uint8Array(SIZE);
    const lba = (worker * SIZE) / disk.blockSize;
    for (let round = 0; running(); round++) {
      try {
        sent.fill(round + worker);
        await disk.write(lba, sent);
        await disk.read(lba, received);
        assert.deepEqual(received, sent);
        counts.done++;
      } catch (error) {
        if (!(error instanceof DmaError && error.code === 'ECANCELED')) throw error;
        counts.cancelled++;
      }
    }
  }

  it(`${TIMES} times: commands end or are cancelled, data is right, nothing is left behind`, async () => {
    const before = holdings();
    const nvme = await NvmeController.open(await openPci(address));
    const disk = await nvme.namespace(1);
    await nvme.reset();
    const open = holdings();
    const memory = await memoryUse();
    const counts = { done: 0, cancelled: 0 };
    let running = true;
    const workers = Array.from({ length: WORKERS }, (_, i) => use(disk, i, counts, () => running));
    const ended = Promise.all(workers);
    for (let i = 0; i < TIMES; i++) {
      const { done } = counts;
      await nvme.reset();
      // Work gets done between two resets.
      while (counts.done === done) await Promise.race([ended, new Promise(setImmediate)]);
    }
    running = false;
    await ended;
    console.log(' ', JSON.stringify(counts));
    assert.deepEqual(holdings(), open);
    await assertNoGrowth(memory);
    assert.ok(counts.cancelled > 0, 'never under load');
    await nvme.close();
    assert.deepEqual(holdings(), before);
  });
});
