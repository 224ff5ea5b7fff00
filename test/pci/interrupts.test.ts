/** Interrupts of every kind: vectors here and there in the table, without the device, counted, masked and unmasked. */
import { readdirSync } from 'node:fs';
import { setImmediate as tick } from 'node:timers/promises';
import type { Interrupt, PciFunction } from '../../lib/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { until } from '../until.ts';
import { edu, nic, nvme, real } from './worlds.ts';

const counted = (interrupt: Interrupt, count: number): Promise<void> =>
  until(() => interrupt.count >= count, `interrupt ${count} arrives`);

/** The first Linux that adds vectors while others are armed; with the interrupt controller of Arm it is a later one. */
const FIRST: readonly [number, number] = process.arch === 'arm64' ? [7, 0] : [6, 5];
const [major = 0, minor = 0] = (process.env.USERDMA_TEST_LINUX ?? '').split('.').map(Number);
const addsVectors = major > FIRST[0] || (major === FIRST[0] && minor >= FIRST[1]);

const soon = (): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(20_000) });

describe(`MSI-X of ${nvme.name}`, () => {
  let fn: PciFunction;
  beforeEach(async () => {
    fn = await nvme.open();
  });
  afterEach(() => fn.close());

  it('is armed at any place of the table, and tells by vector', async () => {
    const vectors = [64, 0, 7].map((vector) => fn.interrupts.msix(vector));
    assert.deepEqual(
      fn.interrupts.armed.map(({ kind, vector }) => `${kind} ${vector}`),
      ['msix 0', 'msix 7', 'msix 64'],
    );
    for (const interrupt of vectors) {
      interrupt.trigger();
      assert.equal(await interrupt.wait(soon()), 1);
    }
    assert.deepEqual(
      vectors.map(({ count }) => count),
      [1, 1, 1],
    );
    vectors[1]!.close();
    assert.deepEqual(
      fn.interrupts.armed.map(({ vector }) => vector),
      [7, 64],
    );
    for (const vector of [1, 0]) {
      fn.interrupts.msix(vector).trigger();
      assert.equal(await fn.interrupts.msix(vector).wait(soon()), 1);
    }
    assert.throws(() => vectors[1]!.trigger(), /closed/);
  });

  it('shows as enabled while a vector is armed', () => {
    assert.equal(fn.config.msix!.enabled, false);
    const interrupt = fn.interrupts.msix(2);
    assert.equal(fn.config.msix!.enabled, true);
    interrupt.close();
    assert.equal(fn.config.msix!.enabled, false);
  });

  it('counts what coalesces, and how often it told', async () => {
    const interrupt = fn.interrupts.msix(3);
    const told: number[] = [];
    interrupt.listen((count) => told.push(count));
    for (let i = 0; i < 5; i++) interrupt.trigger();
    await counted(interrupt, 5);
    assert.deepEqual([interrupt.count, interrupt.deliveries, told], [5, 1, [5]]);
    interrupt.trigger();
    await counted(interrupt, 6);
    assert.deepEqual([interrupt.count, interrupt.deliveries, told], [6, 2, [5, 1]]);
  });

  it('is waited for until the wait is given up, and the next one is not lost', async () => {
    const interrupt = fn.interrupts.msix(6);
    const controller = new AbortController();
    const waiting = interrupt.wait({ signal: controller.signal });
    const reason = new Error('no more');
    controller.abort(reason);
    await assert.rejects(waiting, reason);
    interrupt.trigger();
    assert.equal(await interrupt.wait(soon()), 1);
    await assert.rejects(interrupt.wait({ signal: AbortSignal.abort(reason) }), reason);
  });

  it('is iterated', async () => {
    const interrupt = fn.interrupts.msix(4);
    interrupt.trigger();
    let seen = 0;
    for await (const count of interrupt) {
      seen += count;
      if (seen === 3) interrupt.close();
      else interrupt.trigger();
    }
    assert.equal(seen, 3);
  });

  if (real) {
    it('takes of the system what is armed and the first, or all where the kernel cannot add any', () => {
      const taken = (): number => readdirSync(`/sys/bus/pci/devices/${fn.address}/msi_irqs`).length;
      const all = fn.interrupts.limit('msix');
      const vectors: readonly [number, number][] = [
        [63, 2],
        [31, 3],
        [0, 3],
      ];
      for (const [vector, count] of vectors) {
        fn.interrupts.msix(vector);
        assert.equal(taken(), addsVectors ? count : all);
      }
    });
  }
});

describe(`MSI of ${nic.name}`, () => {
  it('is tried without the device, and one kind is on at a time', async () => {
    using fn = await nic.open();
    const interrupt = fn.interrupts.msi();
    assert.equal(fn.config.msi?.enabled, !real); // VFIO does not show it
    interrupt.trigger();
    assert.equal(await interrupt.wait(soon()), 1);
    assert.throws(() => fn.interrupts.msix(0), /EBUSY|cannot be armed|is armed/);
    interrupt.close();
    const other = fn.interrupts.msix(4);
    other.trigger();
    assert.equal(await other.wait(soon()), 1);
  });
});

describe(`INTx of ${edu.name}`, () => {
  const STATUS = 0x24;
  const RAISE = 0x60;
  const ACKNOWLEDGE = 0x64;
  let fn: PciFunction;
  beforeEach(async () => {
    fn = await edu.open();
  });
  afterEach(() => fn.close());

  const raise = (): void => fn.bar(0).write32(RAISE, 1);
  const service = (): void => fn.bar(0).write32(ACKNOWLEDGE, fn.bar(0).read32(STATUS));
  /** Long enough for an interrupt that is to come. */
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await tick();
  };
  it('stays masked after an interrupt until it is unmasked', async () => {
    const line = fn.interrupts.intx();
    raise();
    await line.wait(soon());
    service();
    raise();
    await settle();
    assert.equal(line.count, 1);
    line.unmask();
    assert.equal(await line.wait(soon()), 1);
    service();
  });

  it('unmasks itself once a listener has serviced the device', async () => {
    const line = fn.interrupts.intx({ autoUnmask: true });
    line.listen(service);
    for (let i = 1; i <= 10; i++) {
      raise();
      await counted(line, i);
    }
    await settle();
    assert.equal(line.count, 10);
  });

  it('unmasks itself once who waited has', async () => {
    const line = fn.interrupts.intx({ autoUnmask: true });
    for (let i = 1; i <= 10; i++) {
      raise();
      assert.equal(await line.wait(soon()), 1);
      service();
    }
    assert.equal(line.count, 10);
  });

  it('interrupts again when nobody serviced it, and does not before anybody was told', async () => {
    const line = fn.interrupts.intx({ autoUnmask: true });
    raise();
    await counted(line, 1);
    await settle();
    assert.equal(line.count, 1);
    await line.wait(soon());
    await counted(line, 2);
    service();
  });

  it('unmasks itself for a listener that comes later than the interrupt', async () => {
    const line = fn.interrupts.intx({ autoUnmask: true });
    raise();
    await counted(line, 1);
    await settle();
    let served = 0;
    line.listen(() => {
      service();
      served++;
    });
    await counted(line, 2);
    assert.equal(served, 1);
    raise();
    await counted(line, 3);
    assert.equal(served, 2);
  });

  it('that would unmask itself may be closed before', async () => {
    const line = fn.interrupts.intx({ autoUnmask: true });
    line.listen(() => {
      service();
      line.close();
    });
    raise();
    await counted(line, 1);
    await settle(); // an unmasking now would be an uncaught exception
    const again = fn.interrupts.intx({ autoUnmask: true });
    raise();
    assert.equal(await again.wait(soon()), 1);
    service();
  });

  it('is tried without the device', async () => {
    const line = fn.interrupts.intx();
    line.trigger();
    assert.equal(await line.wait(soon()), 1);
  });
});

it(`the signal of ${nvme.name} may be waited for with every vector it has`, async () => {
  const warnings: string[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning.name);
  process.on('warning', onWarning);
  try {
    using fn = await nvme.open();
    const stop = new AbortController();
    const vectors = Array.from({ length: 24 }, (_, i) => fn.interrupts.msix(i));
    const waits = vectors.map((vector, i) => vector.wait({ signal: i % 2 === 0 ? fn.gone : stop.signal }));
    for (const vector of vectors.slice(0, 12)) vector.trigger();
    await Promise.all(waits.slice(0, 12));
    stop.abort(new Error('on purpose'));
    for (let i = 13; i < 24; i += 2) await assert.rejects(waits[i]!, /on purpose/);
    for (let i = 12; i < 24; i += 2) vectors[i]!.trigger();
    await Promise.all(waits.filter((_, i) => i % 2 === 0));
    await tick();
    assert.deepEqual(warnings, []);
  } finally {
    process.off('warning', onWarning);
  }
});
