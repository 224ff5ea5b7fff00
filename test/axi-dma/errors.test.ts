/** What goes wrong, and what the driver makes of it: one error that says where, and a core that works again. */
import { setImmediate as tick } from 'node:timers/promises';
import {
  AxiDma,
  type AxiDmaInterrupt,
  type AxiDmaOptions,
  type AxiDmaParts,
} from '../../examples/axi-dma/driver.ts';
import type { Lent, Payload } from '../../examples/axi-dma/transfer.ts';
import type { DmaDevice } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { type Bench, bench, clean, fails, loopback, pattern, rtlTargets } from './bench.ts';

/** How a promise ended, without it counting as unhandled meanwhile. */
function outcome(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'done',
    (error: unknown) => error,
  );
}

async function worksAgain({ axi, source, fn }: Bench): Promise<void> {
  source.model.broken = undefined;
  const into = new Uint8Array(3000);
  assert.equal(await loopback(axi, pattern(3000), into), 3000);
  assert.deepEqual(into, pattern(3000));
  assert.equal(fn.dma.bounceStats.usedSlots, 0, 'all memory was given back');
}

const kinds = [undefined, ...rtlTargets].flatMap((rtl) =>
  [true, false].map((scatterGather) => ({ scatterGather, ...(rtl !== undefined && { rtl }) })),
);

for (const core of kinds) {
  const { scatterGather } = core;
  const what = `${scatterGather ? 'scatter-gather' : 'direct registers'}${core.rtl === undefined ? '' : `, RTL, ${core.rtl}`}`;
  describe(`AXI DMA, ${what}: errors`, () => {
    it('DMASlvErr names the buffer; what else was under way is cancelled', async () => {
      using run = await bench({ core });
      const { axi, fn, source } = run;
      const bad = fn.dma.allocCoherent(4096);
      source.model.broken = { start: bad.dmaAddress, end: bad.dmaAddress + 4095n };
      const where = new RegExp(`DMASlvErr at .*${bad.dmaAddress.toString(16)}, 4096 bytes`);
      const receiving = outcome(axi.s2mm.receive(new Uint8Array(4096)));
      await assert.rejects(axi.mm2s.send(bad.bytes), fails('EIO', where));
      fails('ECANCELED', /another packet/)(await receiving);
      await worksAgain(run);
      bad.free();
      clean(run);
    });

    it('DMASlvErr where it receives', async () => {
      using run = await bench({ core });
      const { axi, fn, source } = run;
      const bad = fn.dma.allocCoherent(4096);
      source.model.broken = { start: bad.dmaAddress + 100n, end: bad.dmaAddress + 100n };
      const sending = outcome(axi.mm2s.send(pattern(300)));
      const where = new RegExp(`S2MM: DMASlvErr at .*${bad.dmaAddress.toString(16)}, 4096 bytes`);
      await assert.rejects(axi.s2mm.receive(bad.bytes), fails('EIO', where));
      await sending;
      await worksAgain(run);
    });

    it('DMADecErr: memory that was unmapped too early', async () => {
      using run = await bench({ core, Driver: HastyAxiDma });
      const { axi } = run;
      const from = run.fn.dma.allocNoncoherent(4096, 'to-device');
      const address = from.dmaAddress.toString(16);
      await assert.rejects(
        axi.mm2s.send(from.bytes),
        fails('EFAULT', new RegExp(`DMADecErr at .*0x${address}`)),
      );
      assert.equal(run.source.faults[0]?.reason, 'not mapped');
    });

    it('a packet that is longer than the buffer', async () => {
      using run = await bench({ core });
      const { axi } = run;
      const sending = outcome(axi.mm2s.send(pattern(101)));
      const receiving = outcome(axi.s2mm.receive(new Uint8Array(100)));
      await tick();
      const later = outcome(axi.s2mm.receive(new Uint8Array(100)));
      fails('EOVERFLOW', /longer/)(await receiving);
      fails('ECANCELED')(await later);
      await sending;
      await worksAgain(run);
      clean(run);
    });

    it('bus mastering is off', async () => {
      using run = await bench({ core, line: true });
      run.fn.clearMaster();
      await assert.rejects(run.axi.mm2s.send(pattern(10)), fails('EFAULT', /DecErr/));
      run.fn.setMaster();
      await worksAgain(run);
    });

    it('reset in flight', async () => {
      using run = await bench({ core });
      const { axi } = run;
      const into = new Uint8Array(100).fill(0xee);
      const waiting = [axi.s2mm.receive(into), axi.s2mm.receive(into.slice()), axi.mm2s.send(pattern(9000))];
      const ends = Promise.all(waiting.map(outcome));
      axi.reset();
      for (const end of await ends) fails('ECANCELED', /reset/)(end);
      assert.ok(into.every((byte) => byte === 0xee));
      await worksAgain(run);
      clean(run);
    });

    it('nobody waits for an interrupt when nothing is under way, so that the program may end', async () => {
      using run = await bench({ core, Driver: CountingAxiDma });
      const { axi } = run;
      await worksAgain(run);
      await tick();
      assert.equal(CountingAxiDma.waits, 0);
      const receiving = outcome(axi.s2mm.receive(new Uint8Array(1)));
      assert.equal(CountingAxiDma.waits, 1);
      axi.reset();
      await receiving;
      await tick();
      assert.equal(CountingAxiDma.waits, 0);
      clean(run);
    });

    it('close in flight: nothing is written from then on, nothing is left behind', async () => {
      using run = await bench({ core });
      const { axi, fn, source } = run;
      const into = fn.dma.allocCoherent(4096);
      const ends = Promise.all([axi.s2mm.receive(into.bytes), axi.mm2s.send(pattern(4096))].map(outcome));
      axi.close();
      axi.close();
      for (const end of await ends) fails('ECANCELED', /closed/)(end);
      for (let i = 0; i < 1000; i++) fn.bar(0).read32(0);
      assert.ok(into.bytes.every((byte) => byte === 0));
      assert.deepEqual(fn.dma.live, [into], 'the rings are freed');
      assert.deepEqual(source.faults, []);
      await assert.rejects(axi.mm2s.send(pattern(1)), fails('ENODEV', /closed/));
      await assert.rejects(axi.s2mm.receive(into.bytes), fails('ENODEV', /closed/));
      assert.throws(() => axi.reset(), fails('ENODEV'));
      into.free();
      clean(run);
    });

    it('the function is closed under the driver', async () => {
      using run = await bench({ core });
      const { axi, fn } = run;
      const ends = Promise.all(
        [axi.s2mm.receive(new Uint8Array(10)), axi.mm2s.send(pattern(9000))].map(outcome),
      );
      fn.close();
      for (const end of await ends) fails('ENODEV')(end);
      await assert.rejects(axi.mm2s.send(pattern(1)), fails('ENODEV'));
      axi.close();
    });

    it('aborting what is under way', async () => {
      using run = await bench({ core });
      const { axi } = run;
      const why = new Error('enough');
      const abort = new AbortController();
      const receiving = outcome(axi.s2mm.receive(new Uint8Array(100), { signal: abort.signal }));
      const other = outcome(axi.s2mm.receive(new Uint8Array(100)));
      abort.abort(why);
      assert.equal(await receiving, why);
      fails('ECANCELED')(await other);
      await assert.rejects(axi.mm2s.send(pattern(1), { signal: abort.signal }), why);
      await worksAgain(run);
      clean(run);
    });

    it('aborting several at once', async () => {
      using run = await bench({ core });
      const why = new Error('enough');
      const abort = new AbortController();
      const { signal } = abort;
      const ends = [1, 2, 3].map((length) =>
        outcome(run.axi.s2mm.receive(new Uint8Array(length), { signal })),
      );
      abort.abort(why);
      assert.deepEqual(await Promise.all(ends), [why, why, why]);
      await worksAgain(run);
      clean(run);
    });

    it('aborting what still waits for room disturbs nobody', async () => {
      using run = await bench({ core, driver: { descriptors: 2 } });
      const { axi } = run;
      const abort = new AbortController();
      const into = new Uint8Array(100);
      const first = axi.s2mm.receive(into);
      const second = outcome(axi.s2mm.receive(new Uint8Array(100), { signal: abort.signal }));
      abort.abort('enough');
      assert.equal(await second, 'enough');
      await axi.mm2s.send(pattern(100));
      assert.equal(await first, 100);
      assert.deepEqual(into, pattern(100));
      await worksAgain(run);
      clean(run);
    });

    it('a buffer that is taken away meanwhile', async () => {
      using run = await bench({ core });
      const { axi } = run;
      const into = new Uint8Array(100);
      const receiving = outcome(axi.s2mm.receive(into));
      structuredClone(into.buffer, { transfer: [into.buffer] });
      await axi.mm2s.send(pattern(100));
      fails('EINVAL', /detached/)(await receiving);
      const [taken, kept] = [new Uint8Array(100), new Uint8Array(100)];
      const ends = Promise.all([taken, kept].map((buffer) => outcome(axi.s2mm.receive(buffer))));
      structuredClone(taken.buffer, { transfer: [taken.buffer] });
      axi.reset();
      for (const end of await ends) fails('ECANCELED')(end);
      await worksAgain(run);
    });

    it('refuses what it cannot move, and stays usable', async () => {
      using run = await bench({ core: { ...core, alignment: 8 } });
      const { axi, fn } = run;
      const own = fn.dma.allocCoherent(4096);
      await assert.rejects(axi.mm2s.send(new Uint8Array(0)), fails('EINVAL'));
      await assert.rejects(axi.mm2s.send([]), fails('EINVAL'));
      await assert.rejects(axi.mm2s.send('text' as unknown as Payload), fails('EINVAL'));
      await assert.rejects(axi.mm2s.send(own.bytes.subarray(4)), fails('EINVAL', /align it to 8/));
      const many = Array.from({ length: 64 }, () => new Uint8Array(8));
      await assert.rejects(axi.mm2s.send(many), fails('EINVAL', /64 pieces/));
      const [a, b] = [own.bytes.subarray(0, 1024), own.bytes.subarray(2048, 3072)];
      if (!scatterGather) await assert.rejects(axi.mm2s.send([a, b]), fails('EINVAL', /in 2 pieces/));
      await worksAgain(run);
    });

    it('a core that hangs keeps its memory', async () => {
      using run = await bench({ core, Driver: HangingAxiDma });
      const { axi, fn } = run;
      const own = fn.dma.allocNoncoherent(64, 'from-device');
      const receiving = outcome(axi.s2mm.receive(own.bytes));
      const foreign = outcome(axi.s2mm.receive(new Uint8Array(64)));
      HangingAxiDma.hangs = true;
      try {
        assert.throws(() => axi.reset(), fails('ETIMEDOUT', /clocks/));
        for (const end of [await receiving, await foreign]) fails('ECANCELED')(end);
        await assert.rejects(axi.mm2s.send(pattern(1)), fails('ETIMEDOUT'));
        axi.close();
      } finally {
        HangingAxiDma.hangs = false;
      }
      assert.equal(fn.dma.bounceStats.usedSlots, 1, 'the device may still write there');
      assert.equal(fn.dma.live.length, scatterGather ? 3 : 1, 'and read the rings');
    });
  });
}

describe('AXI DMA: errors', () => {
  it('SGSlvErr and SGDecErr name the descriptor', async () => {
    using run = await bench({ line: true });
    const { axi, fn, source } = run;
    const [ring] = fn.dma.live;
    assert.ok(ring !== undefined && 'dmaAddress' in ring);
    const start = ring.dmaAddress;
    const where = (name: string): RegExp =>
      new RegExp(`${name} at descriptor 0x${start.toString(16)}, buffer 0x[0-9a-f]+, 10 bytes`);
    source.model.broken = { start, end: start };
    await assert.rejects(axi.mm2s.send(pattern(10)), fails('EIO', where('SGSlvErr')));
    source.model.broken = undefined;
    fn.clearMaster();
    await assert.rejects(axi.mm2s.send(pattern(10)), fails('EFAULT', where('SGDecErr')));
  });

  it('a packet that ends before the last piece of its list', async () => {
    using run = await bench();
    const sending = outcome(run.axi.mm2s.send(pattern(100)));
    const into = [new Uint8Array(100), new Uint8Array(100)];
    await assert.rejects(run.axi.s2mm.receive(into), fails('EIO', /ended after 100 of 200/));
    await sending;
    await worksAgain(run);
  });

  it('an error leaves alone what was finished before it', async () => {
    using run = await bench();
    const { axi, fn, source } = run;
    const bad = fn.dma.allocCoherent(64);
    source.model.broken = { start: bad.dmaAddress, end: bad.dmaAddress };
    const packets = [pattern(100), bad.bytes, pattern(5)];
    const ends = packets.map((packet) => outcome(axi.mm2s.send(packet)));
    const [first, second, third] = await Promise.all(ends);
    assert.equal(first, 'done');
    fails('EIO', /DMASlvErr/)(second);
    fails('ECANCELED')(third);
    await worksAgain(run);
  });

  it('refuses options, and registers that are not an AXI DMA', async () => {
    using run = await bench();
    const { fn } = run;
    const interrupts = { mm2s: fn.interrupts.msi(0), s2mm: fn.interrupts.msi(1) };
    const parts: AxiDmaParts = { registers: fn.bar(0), interrupts, dma: fn.dma };
    const bad: AxiDmaOptions[] = [
      { addressBits: 31 },
      { addressBits: 65 },
      { lengthBits: 7 },
      { lengthBits: 27 },
      { alignment: 3 },
      { descriptors: 1 },
      { descriptors: 2.5 },
      { coalesce: { packets: 0, delay: 1 } },
      { coalesce: { packets: 2, delay: 0 } },
    ];
    run.axi.close();
    for (const options of bad) assert.throws(() => new AxiDma(parts, options), fails('EINVAL'));
    assert.deepEqual(fn.dma.live, []);
    const nothing = { read32: () => 0, write32: () => {} };
    assert.throws(() => new AxiDma({ ...parts, registers: nothing }), fails('ENODEV', /no AXI DMA/));
    const gone = { read32: () => 0xffff_ffff, write32: () => {} };
    assert.throws(() => new AxiDma({ ...parts, registers: gone }), fails('ETIMEDOUT'));
  });
});

/** Frees the memory that was allocated last as soon as it is lent. */
class HastyAxiDma extends AxiDma {
  readonly #dma: DmaDevice;

  constructor(parts: AxiDmaParts, options?: AxiDmaOptions) {
    super(parts, options);
    this.#dma = parts.dma;
  }

  protected override lend(payload: Payload, direction: 'to-device' | 'from-device'): Lent {
    const lent = super.lend(payload, direction);
    this.#dma.live.at(-1)?.[Symbol.dispose]();
    return lent;
  }
}

/** Counts who waits for its interrupts. */
class CountingAxiDma extends AxiDma {
  static waits = 0;

  constructor({ interrupts, ...parts }: AxiDmaParts, options?: AxiDmaOptions) {
    const counting = (interrupt: AxiDmaInterrupt): AxiDmaInterrupt => ({
      wait: (waitOptions) => {
        CountingAxiDma.waits++;
        return interrupt.wait(waitOptions).finally(() => CountingAxiDma.waits--);
      },
      unmask: () => interrupt.unmask(),
    });
    const { mm2s, s2mm } = interrupts;
    super({ ...parts, interrupts: { mm2s: counting(mm2s), s2mm: counting(s2mm) } }, options);
  }
}

/** Its core can be made to never come out of reset. */
class HangingAxiDma extends AxiDma {
  static hangs = false;

  constructor({ registers, ...parts }: AxiDmaParts, options?: AxiDmaOptions) {
    const hanging = {
      read32: (offset: number) => registers.read32(offset) | (HangingAxiDma.hangs ? 4 : 0),
      write32: (offset: number, value: number) => registers.write32(offset, value),
    };
    super({ ...parts, registers: hanging }, options);
  }
}
