/** Packets through the loop, in every kind of machine and with every kind of core. */
import fc from 'fast-check';
import { measure } from '../../examples/axi-dma/throughput.ts';
import { assert, describe, it } from '../harness.ts';
import { bench, clean, cores, loopback, machines, pattern, seed } from './bench.ts';

/** Longer than the FIFO between the channels, and than a descriptor of the narrowest core. */
const LONGEST = 40_000;

for (const { name: machine, options } of machines) {
  for (const { name, core } of cores) {
    const setup = { core, machine: options };
    describe(`AXI DMA, ${name}, ${machine}`, () => {
      it('allocate, fill, send, receive, compare', async () => {
        using run = await bench(setup);
        const { axi, fn } = run;
        const from = fn.dma.allocCoherent(4096);
        const to = fn.dma.allocCoherent(4096);
        from.bytes.set(pattern(4096));
        assert.equal(await loopback(axi, from.bytes, to.bytes), 4096);
        assert.deepEqual(to.bytes, from.bytes);
        const wide = (core.addressBits ?? 32) > 32 && options.iommu === false;
        assert.equal(from.high > 0, wide, 'a wide core is given memory above 4 GiB where there is some');
        for (const buffer of [from, to]) buffer.free();
        clean(run);
      });

      it('cached memory of the device, half of it', async () => {
        using run = await bench(setup);
        const { axi, fn } = run;
        const from = fn.dma.allocNoncoherent(8192, 'to-device');
        const to = fn.dma.allocNoncoherent(8192, 'from-device');
        from.bytes.set(pattern(8192));
        to.bytes.fill(0xee);
        const half = (bytes: Uint8Array): Uint8Array => bytes.subarray(4096);
        assert.equal(await loopback(axi, half(from.bytes), half(to.bytes)), 4096);
        assert.deepEqual(half(to.bytes), half(from.bytes));
        assert.ok(to.bytes.subarray(0, 4096).every((byte) => byte === 0xee));
        for (const buffer of [from, to]) buffer.free();
        clean(run);
      });

      it('random lengths from and to anywhere in memory of the program', async () => {
        using run = await bench(setup);
        const { axi } = run;
        const place = fc.record({
          length: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: LONGEST })),
          from: fc.nat(4096),
          to: fc.nat(4096),
          spare: fc.nat(100),
        });
        const one = fc.asyncProperty(place, async ({ length, from, to, spare }) => {
          const sent = pattern(from + length, length).subarray(from);
          const memory = new Uint8Array(to + length + spare + 64).fill(0xee);
          const into = memory.subarray(to, to + length + spare);
          assert.equal(await loopback(axi, sent, into), length);
          assert.deepEqual(into.subarray(0, length), sent);
          const beside = [...memory.subarray(0, to), ...memory.subarray(to + length)];
          assert.ok(
            beside.every((byte) => byte === 0xee),
            'bytes beside the packet changed',
          );
        });
        await fc.assert(one, { seed, numRuns: 40 });
        clean(run);
      });

      const withDescriptors = core.scatterGather ? it : () => {};
      withDescriptors('sends a list as one packet, and spreads one over a list', async () => {
        using run = await bench(setup);
        const { axi } = run;
        const sent = pattern(1000);
        const parts = [sent.subarray(0, 14), sent.subarray(14, 600), sent.subarray(600)];
        const header = new Uint8Array(54);
        const body = new Uint8Array(2000);
        const [received] = await Promise.all([axi.s2mm.receive([header, body]), axi.mm2s.send(parts)]);
        assert.equal(received, 1000);
        assert.deepEqual(Buffer.concat([header, body.subarray(0, 946)]), Buffer.from(sent));
        clean(run);
      });

      it('keeps the order of packets that were sent at once', async () => {
        using run = await bench(setup);
        const { axi } = run;
        const sent = Array.from({ length: 200 }, (_, i) => pattern(1 + ((i * 37) % 700), i));
        const received = sent.map(() => new Uint8Array(700));
        const [lengths] = await Promise.all([
          Promise.all(received.map((into) => axi.s2mm.receive(into))),
          Promise.all(sent.map((packet) => axi.mm2s.send(packet))),
        ]);
        assert.deepEqual(
          lengths,
          sent.map(({ length }) => length),
        );
        for (const [i, packet] of sent.entries()) {
          assert.deepEqual(received[i]!.subarray(0, packet.length), packet, `packet ${i}`);
        }
        clean(run);
      });
    });
  }
}

describe('AXI DMA, the ring', () => {
  for (const descriptors of [2, 3, 7]) {
    it(`of ${descriptors} descriptors, round and round`, async () => {
      using run = await bench({ driver: { descriptors } });
      for (let i = 0; i < 5 * descriptors + 1; i++) {
        const packets = Array.from({ length: 1 + (i % 4) }, (_, at) => pattern(100 + i, at));
        const into = packets.map(({ length }) => new Uint8Array(length));
        const all = packets.map((packet, at) => loopback(run.axi, packet, into[at]!));
        await Promise.all(all);
        assert.deepEqual(into, packets);
      }
      clean(run);
    });
  }

  it('cuts what is longer than a descriptor can say', async () => {
    using run = await bench({ core: { lengthBits: 8 } });
    const sent = pattern(10_000);
    const received = new Uint8Array(10_000);
    assert.equal(await loopback(run.axi, sent, received), 10_000);
    assert.deepEqual(received, sent);
    clean(run);
  });

  it('interrupts for some packets only, and for the last after a while', async () => {
    const coalesce = { packets: 16, delay: 100 };
    using run = await bench({ driver: { coalesce } });
    const { axi, fn } = run;
    const sent = Array.from({ length: 40 }, (_, i) => pattern(64, i));
    const received = sent.map(() => new Uint8Array(64));
    await Promise.all(sent.map((packet, i) => loopback(axi, packet, received[i]!)));
    assert.deepEqual(received, sent);
    assert.equal(fn.interrupts.msi(0).count, 3, '16, 16, and 8 by the delay');
    clean(run);
  });

  it('takes both channels on one interrupt line', async () => {
    for (const scatterGather of [true, false]) {
      using run = await bench({ core: { scatterGather }, line: true });
      for (let i = 0; i < 20; i++) {
        const sent = pattern(5000, i);
        const received = new Uint8Array(5000);
        await loopback(run.axi, sent, received);
        assert.deepEqual(received, sent);
      }
      clean(run);
    }
  });
});

describe('AXI DMA, throughput', () => {
  for (const size of [64, 1500, 4096]) {
    it(`${size} bytes a packet, 16 at once`, async () => {
      using run = await bench();
      const { axi, fn } = run;
      const { packets, elapsed, wrong } = await measure(axi, fn.dma, { size, depth: 16, packets: 800 });
      assert.deepEqual([packets, wrong], [800, 0]);
      console.log(`  ${size} bytes: ${((packets * size) / elapsed).toFixed(1)} MB/s, simulated and compared`);
      clean(run);
    });
  }
});
