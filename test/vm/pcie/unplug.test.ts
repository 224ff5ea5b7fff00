/** A disk that is pulled out again and again while it is being used. */
import { setImmediate as turn } from 'node:timers/promises';
import { NvmeController } from '../../../examples/nvme/controller.ts';
import { DmaError, openPci, type PciFunction } from '../../../lib/index.ts';
import { afterAll, assert, beforeAll, describe, it } from '../../harness.ts';
import { until } from '../../until.ts';
import { device } from '../devices.ts';
import { assertNoGrowth, holdings, memoryUse } from '../holdings.ts';
import { type Pluggable, pullOut, putBack } from '../hotplug.ts';
import { Monitor } from '../monitor.ts';

const TIMES = 10;
const WORKERS = 16;
/** Of each worker, before the disk goes. */
const TRANSFERS = 8;
const CLASS_NVME = 0x010802;
const CONTROLLER_STATUS = 0x1c;

const disk: Pluggable = {
  address: device('USERDMA_TEST_NVME'),
  id: 'nvme0',
  properties: { driver: 'nvme', drive: 'nvme0', serial: 'nvme0', bus: 'port4' },
};

/** Uses the disk until that fails; all that fails is what every loop ended with. */
class Load {
  transfers = 0;
  polls = 0;
  readonly ends: Promise<unknown>[];

  constructor(nvme: NvmeController, namespace: Awaited<ReturnType<NvmeController['namespace']>>) {
    const bar = nvme.fn.bar(0);
    const transfer = async (worker: number): Promise<void> => {
      // Two sizes, so that some is copied and some lent in place.
      const bytes = new Uint8Array(worker % 2 === 0 ? 4096 : 131_072);
      for (;;) {
        const lba = Math.floor(Math.random() * 1000) * 256;
        if (this.transfers % 2 === 0) await namespace.read(lba, bytes);
        else await namespace.write(lba, bytes);
        this.transfers++;
      }
    };
    const poll = async (): Promise<void> => {
      for (;;) {
        assert.equal(bar.read32(CONTROLLER_STATUS) & 2, 0, 'controller fatal status');
        this.polls++;
        await turn();
      }
    };
    const loops = [...Array.from({ length: WORKERS }, (_, i) => transfer(i)), poll()];
    this.ends = loops.map((loop) => loop.catch((error: unknown) => error));
  }

  async until(transfers: number): Promise<void> {
    await until(() => this.transfers >= transfers, `${transfers} transfers are done`);
  }
}

describe('a disk that is pulled out under load', () => {
  let monitor: Monitor;

  beforeAll(async () => {
    monitor = await Monitor.open();
  });
  afterAll(() => monitor.close());

  async function open(releaseGrace?: number): Promise<{ nvme: NvmeController; load: Load; fn: PciFunction }> {
    const fn = await openPci(disk.address, releaseGrace === undefined ? {} : { releaseGrace });
    const nvme = await NvmeController.open(fn);
    return { nvme, fn, load: new Load(nvme, await nvme.namespace(1)) };
  }

  async function pull(abruptly: boolean): Promise<string> {
    const { nvme, fn, load } = await open(abruptly ? 0 : undefined);
    await load.until(WORKERS * TRANSFERS);
    await pullOut(monitor, disk);
    for (const end of await Promise.all(load.ends)) {
      assert.ok(end instanceof DmaError, String(end));
      assert.equal(end.code, 'ENODEV', end.message);
    }
    assert.throws(
      () => fn.bar(0).read32(CONTROLLER_STATUS),
      (error) => (error as DmaError).code === 'ENODEV',
    );
    await nvme.close().catch(() => {});
    fn.close();
    assert.deepEqual(fn.dma.live, []);
    await putBack(monitor, disk);
    return `${load.transfers} transfers, ${load.polls} polls`;
  }

  it(`${TIMES} times: every loop ends with ENODEV, and nothing is left behind`, async () => {
    // Whatever is made once is made by then.
    await pull(false);
    await pull(true);
    const before = holdings();
    const memory = await memoryUse();
    // In turn: a driver that is given the time to shut the disk down, and one that is not.
    for (let i = 0; i < TIMES; i++) {
      console.log(`  ${i + 1}: ${await pull(i % 2 === 1)}`);
      assert.deepEqual(holdings(), before, `after ${i + 1} times`);
    }
    console.log(' ', JSON.stringify(before));
    await assertNoGrowth(memory);
    using back = await openPci(disk.address);
    assert.equal(back.config.classCode, CLASS_NVME);
  });
});
