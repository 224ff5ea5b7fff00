/** What goes wrong: on the card, on the way, and in the arguments. Memory always comes back. */
import { Xdma } from '../../examples/xdma/driver.ts';
import { CHANNEL, CONTROL, DESCRIPTORS, Descriptor, STATUS, TARGET } from '../../examples/xdma/registers.ts';
import { openPci } from '../../lib/index.ts';
import { EduModel, FaultInjector, simulate } from '../../lib/sim/index.ts';
import { assert, describe, it } from '../harness.ts';
import { bench, clean, completions, fails, pattern } from './bench.ts';

const BLOCK = pattern(5000);

for (const mode of completions) {
  const driver = { completions: mode };
  describe(`XDMA in trouble, ${mode}`, () => {
    it('an address that the card has not is EIO, and the channel works on', async () => {
      await using run = await bench({ core: { memory: 8192 }, driver });
      const { xdma } = run;
      await assert.rejects(xdma.write(8000, BLOCK), fails('EIO', /error of a write on the card/));
      await assert.rejects(
        xdma.read(2 ** 40, new Uint8Array(4)),
        fails('EIO', /error of a read on the card/),
      );
      const back = new Uint8Array(5000);
      await xdma.write(0, BLOCK);
      await xdma.read(0, back);
      assert.deepEqual(back, BLOCK);
      await clean(run);
    });

    it('a card that is pulled out ends every transfer with ENODEV', async () => {
      await using run = await bench({ core: { time: 1000 }, driver });
      const { xdma, source, fn } = run;
      const transfers = [xdma.write(0, BLOCK), xdma.write(0, BLOCK), xdma.read(0, new Uint8Array(5))];
      const ends = Promise.all(transfers.map((transfer) => assert.rejects(transfer, fails('ENODEV'))));
      await Promise.resolve();
      source.unplug();
      fn.isPresent();
      await ends;
      await assert.rejects(xdma.write(0, BLOCK), fails('ENODEV'));
    });

    it('reset ends what is under way with ECANCELED, and everything works again', async () => {
      await using run = await bench({ core: { channels: 2, time: 1000 }, driver });
      const { xdma } = run;
      const views = Array.from({ length: 100 }, () => new Uint8Array(10));
      const transfers = [xdma.write(0, views), xdma.read(0, new Uint8Array(5), { channel: 1 })];
      const ends = Promise.all(transfers.map((transfer) => assert.rejects(transfer, fails('ECANCELED'))));
      await xdma.reset();
      await ends;
      const back = new Uint8Array(5000);
      await xdma.write(0, BLOCK);
      await xdma.read(0, back);
      assert.deepEqual(back, BLOCK);
      await clean(run);
    });

    it('a device that does not answer in time is ETIMEDOUT, and its memory comes back', async () => {
      const inject = new FaultInjector({ seed: 1 });
      await using run = await bench({ machine: { inject }, driver: { ...driver, timeout: 300 } });
      const { xdma } = run;
      inject.on('completion-delayed', { microseconds: Number.POSITIVE_INFINITY });
      // It does not stop either: the driver takes bus mastering away.
      await assert.rejects(xdma.write(0, BLOCK), fails('ETIMEDOUT'));
      assert.equal(run.fn.busMaster, false);
      await assert.rejects(xdma.write(0, BLOCK), fails('ETIMEDOUT'));
      inject.off();
      await xdma.reset();
      await xdma.write(0, BLOCK);
      await clean(run);
    });
  });
}

describe('XDMA in trouble', () => {
  it('a lost interrupt costs time, and no transfer', async () => {
    const inject = new FaultInjector({ seed: 1 }).on('interrupt-lost', { nth: 1 });
    await using run = await bench({ machine: { inject }, driver: { timeout: 500 } });
    await run.xdma.write(0, BLOCK);
    await clean(run);
  });

  it('memory that the IOMMU refuses is EIO', async () => {
    const inject = new FaultInjector({ seed: 1 });
    await using run = await bench({ machine: { inject } });
    inject.on('iommu-fault', { nth: 2 });
    await assert.rejects(run.xdma.write(0, BLOCK), fails('EIO', /error of a read of memory/));
    inject.off().on('iommu-fault', { nth: 1 });
    await assert.rejects(run.xdma.write(0, BLOCK), fails('EIO', /read of a descriptor/));
  });

  it('arguments that cannot be right are EINVAL', async () => {
    await using run = await bench({ core: { addressAlignment: 4, lengthAlignment: 8 } });
    const { xdma } = run;
    for (const card of [-1, 2, 0.5, Number.NaN, 2 ** 53]) {
      await assert.rejects(xdma.write(card, new Uint8Array(8)), fails('EINVAL'));
    }
    for (const length of [0, 4, 9]) {
      await assert.rejects(xdma.write(0, new Uint8Array(length)), fails('EINVAL', /multiple of 8/));
    }
    await assert.rejects(xdma.read(0, [new Uint8Array(8), null as never]), fails('EINVAL'));
    await assert.rejects(xdma.read(0, new Uint8Array(8), { channel: 1 }), fails('EINVAL', /no channel c2h1/));
    assert.throws(() => xdma.userInterrupt(16), fails('EINVAL'));
    await clean(run);
    await assert.rejects(xdma.read(0, new Uint8Array(8)), fails('ENODEV'));
    const fn = await openPci(simulate(new EduModel()));
    await assert.rejects(Xdma.open(fn), fails('ENODEV', /no BAR/));
    assert.ok(fn.closed);
  });

  it('a shortage of memory or vectors leaves nothing behind', async () => {
    for (const kind of ['no-memory', 'vector-limit'] as const) {
      const inject = new FaultInjector({ seed: 1 }).on(kind, { nth: 1 });
      await assert.rejects(bench({ machine: { inject } }), fails(kind === 'no-memory' ? 'ENOMEM' : 'ENOSPC'));
    }
    const inject = new FaultInjector({ seed: 1 }).on('vector-limit', { after: 1 });
    await using run = await bench({ core: { channels: 2 }, machine: { inject } });
    await run.xdma.write(0, BLOCK, { channel: 1 });
    await clean(run);
  });
});

describe('The model of XDMA', () => {
  /** Run one descriptor with these words, and return the status. */
  async function statusAfter(change: (words: Uint32Array, address: bigint) => void): Promise<number> {
    await using run = await bench({ core: { addressAlignment: 4 } });
    const { fn } = run;
    const buffer = fn.dma.allocCoherent(4096);
    const words = new Uint32Array(buffer.buffer, 0, Descriptor.over(buffer.bytes.subarray(0, 32)).count * 8);
    const registers = fn.bar(1);
    const start = buffer.dmaAddress + 2048n;
    words.set([0xad4b0003, 16, Number(start & 0xffff_ffffn), Number(start >> 32n), 0, 0, 0, 0]);
    change(words, start);
    registers.write32(TARGET.h2cDescriptors + DESCRIPTORS.low, buffer.low);
    registers.write32(TARGET.h2cDescriptors + DESCRIPTORS.high, buffer.high);
    registers.write32(TARGET.h2c + CHANNEL.control, CONTROL.run | 0x00ff_fffe);
    let status: number;
    do status = registers.read32(TARGET.h2c + CHANNEL.status);
    while ((status & STATUS.busy) !== 0);
    registers.write32(TARGET.h2c + CHANNEL.controlClear, CONTROL.run);
    buffer.free();
    return status;
  }

  it('says why it stops', async () => {
    assert.equal(await statusAfter(() => {}), STATUS.descriptorStopped | STATUS.descriptorCompleted);
    const cases: [number, (words: Uint32Array) => void][] = [
      [STATUS.magicStopped, (words) => words.fill(0xad4c0003, 0, 1)],
      [STATUS.invalidLength, (words) => words.fill(0, 1, 2)],
      [STATUS.alignMismatch, (words) => words.fill(2, 4, 5)],
      [STATUS.writeErrors & -STATUS.writeErrors, (words) => words.fill(1, 5, 6)],
      [STATUS.readErrors & -STATUS.readErrors, (words) => words.fill(0x4000_0000, 3, 4)],
    ];
    for (const [status, change] of cases) assert.equal(await statusAfter(change), status);
  });
});
