/** Bytes to the card and back, in every kind of machine and with every kind of core. */
import fc from 'fast-check';
import { assert, describe, it } from '../harness.ts';
import { bench, clean, completions, cores, machines, pattern, seed } from './bench.ts';

const MEMORY = 2 ** 20;

for (const { name: machine, options } of machines) {
  for (const { name, core } of cores) {
    for (const mode of completions) {
      const setup = { core, machine: options, driver: { completions: mode } };
      describe(`XDMA, ${name}, ${mode}, ${machine}`, () => {
        it('memory of the device to the card and back', async () => {
          await using run = await bench(setup);
          const { xdma, fn, source } = run;
          const from = fn.dma.allocCoherent(8192);
          const to = fn.dma.allocNoncoherent(8192, 'from-device');
          from.bytes.set(pattern(8192));
          await xdma.write(0x100, from.bytes);
          assert.deepEqual(source.model.memory.subarray(0x100, 0x100 + 8192), from.bytes);
          await xdma.read(0x100, to.bytes);
          to.syncForCpu();
          assert.deepEqual(to.bytes, from.bytes);
          for (const buffer of [from, to]) buffer.free();
          await clean(run);
        });

        it('random lengths from and to anywhere in memory of the program', async () => {
          await using run = await bench(setup);
          const { xdma } = run;
          const place = fc.record({
            length: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 100_000 })),
            card: fc.nat(MEMORY - 100_000),
            from: fc.nat(4096),
            to: fc.nat(4096),
          });
          const one = fc.asyncProperty(place, async ({ length, card, from, to }) => {
            const sent = pattern(from + length, length).subarray(from);
            const memory = new Uint8Array(to + length + 64).fill(0xee);
            await xdma.write(card, sent);
            await xdma.read(card, memory.subarray(to, to + length));
            assert.deepEqual(memory.subarray(to, to + length), sent);
            const beside = [...memory.subarray(0, to), ...memory.subarray(to + length)];
            assert.ok(
              beside.every((byte) => byte === 0xee),
              'bytes beside the memory changed',
            );
          });
          await fc.assert(one, { seed, numRuns: 12 });
          await clean(run);
        });

        it('a list is one run of the card, however many descriptors it takes', async () => {
          await using run = await bench(setup);
          const { xdma, source } = run;
          const views = Array.from({ length: 300 }, (_, i) => pattern(1 + (i % 40), i));
          const all = Buffer.concat(views);
          await xdma.write(7, views);
          assert.deepEqual(Buffer.from(source.model.memory.subarray(7, 7 + all.length)), all);
          const back = views.map(({ length }) => new Uint8Array(length));
          await xdma.read(7, back);
          assert.deepEqual(back, views);
          await clean(run);
        });
      });
    }
  }
}

describe('XDMA, channels', () => {
  it('work at the same time, each in order', async () => {
    await using run = await bench({ core: { channels: 4, time: 3 } });
    const { xdma } = run;
    assert.equal(xdma.h2c.length, 4);
    assert.equal(xdma.c2h.length, 4);
    const blocks = Array.from({ length: 40 }, (_, i) => pattern(500 + i, i));
    await Promise.all(blocks.map((block, i) => xdma.write(i * 1024, block, { channel: i % 4 })));
    const back = blocks.map(({ length }) => new Uint8Array(length));
    await Promise.all(back.map((into, i) => xdma.read(i * 1024, into, { channel: 3 - (i % 4) })));
    assert.deepEqual(back, blocks);
    await clean(run);
  });

  it('take a list as it is at the call, also behind another transfer', async () => {
    await using run = await bench({ core: { time: 3 } });
    const { xdma, source } = run;
    const list = [pattern(100, 1), pattern(100, 2)];
    const sent = Buffer.concat(list);
    const first = xdma.write(4096, pattern(2000));
    const second = xdma.write(0, list);
    list.splice(0, 2, new Uint8Array(100));
    await Promise.all([first, second]);
    assert.deepEqual(Buffer.from(source.model.memory.subarray(0, 200)), sent);
    await clean(run);
  });

  it('share a vector if the system grants one', async () => {
    await using run = await bench({ core: { channels: 2, interrupts: 'msi' } });
    const { xdma } = run;
    const block = pattern(3000);
    await Promise.all([xdma.write(0, block), xdma.write(4096, block, { channel: 1 })]);
    const back = new Uint8Array(3000);
    await xdma.read(4096, back, { channel: 1 });
    assert.deepEqual(back, block);
    await clean(run);
  });

  it('take aligned memory only, and copy what begins elsewhere', async () => {
    await using run = await bench({ core: { addressAlignment: 64, lengthAlignment: 64 } });
    const { xdma, source } = run;
    const bytes = pattern(64 * 1000 + 64);
    await xdma.write(64, [bytes.subarray(3, 3 + 64 * 999), bytes.subarray(5, 5 + 64)]);
    assert.deepEqual(source.model.memory.subarray(64, 64 + 64 * 999), bytes.subarray(3, 3 + 64 * 999));
    await clean(run);
  });
});

describe('XDMA, the interrupts of the design', () => {
  it('come by their own vectors', async () => {
    await using run = await bench({ core: { channels: 2 } });
    const { xdma, source } = run;
    const [first, last] = [xdma.userInterrupt(0), xdma.userInterrupt(15)];
    assert.equal(first.vector, 4);
    assert.equal(xdma.userInterrupt(0), first);
    source.model.raiseUser(15);
    assert.equal(await last.wait({ timeout: 5000 }), 1);
    assert.equal(first.count, 0);
    source.model.raiseUser(0);
    await first.wait({ timeout: 5000 });
    await clean(run);
  });
});
