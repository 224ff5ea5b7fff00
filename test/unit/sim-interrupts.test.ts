import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { command, expectCode, INTX_DISABLE, MASTER, plug, RecordingModel, STATUS } from './sim-fixture.ts';

function lineOf(): ReturnType<typeof plug<RecordingModel>> & { counts: number[] } {
  const counts: number[] = [];
  const slot = plug(new RecordingModel({ intx: true, msi: 2 }));
  return { ...slot, counts };
}

describe('messages', () => {
  it('come from the event loop, counted together', async () => {
    const { model, transport, counts } = lineOf();
    command(transport, MASTER);
    transport.interrupts.enable('msi', 0, (count) => counts.push(count));
    for (let i = 0; i < 5; i++) model.bus.raise();
    expect(counts).toEqual([]);
    await tick();
    expect(counts).toEqual([5]);
    model.bus.raise(0);
    await tick();
    expect(counts).toEqual([5, 1]);
  });

  it('go to their own vector, or nowhere when it is not armed', async () => {
    const { model, transport, counts } = lineOf();
    command(transport, MASTER);
    transport.interrupts.enable('msi', 1, () => counts.push(1));
    model.bus.raise(0);
    model.bus.raise(1);
    await tick();
    expect(counts).toEqual([1]);
    expectCode('EINVAL', () => model.bus.raise(2));
  });

  it('need bus mastering, being memory writes', async () => {
    const { model, transport, counts, faults } = lineOf();
    transport.interrupts.enable('msi', 0, (count) => counts.push(count));
    model.bus.raise();
    await tick();
    expect(counts).toEqual([]);
    expect(faults.list).toMatchObject([{ address: 0xfee00000n, reason: 'bus mastering is off' }]);
  });

  it('stop at disable, also those under way', async () => {
    const { model, transport, counts } = lineOf();
    command(transport, MASTER);
    transport.interrupts.enable('msi', 0, (count) => counts.push(count));
    model.bus.raise();
    transport.interrupts.disable('msi', 0);
    transport.interrupts.enable('msi', 0, (count) => counts.push(count));
    await tick();
    expect(counts).toEqual([]);
  });

  it('may be ended by their own callback', async () => {
    const { model, transport, counts } = lineOf();
    command(transport, MASTER);
    transport.interrupts.enable('msi', 0, (count) => {
      counts.push(count);
      transport.close();
    });
    model.bus.raise();
    await tick();
    model.bus.raise();
    await tick();
    expect(counts).toEqual([1]);
  });
});

describe('kinds', () => {
  it('exclude each other', () => {
    const { interrupts } = lineOf().transport;
    expect([interrupts.limit('intx'), interrupts.limit('msi'), interrupts.limit('msix')]).toEqual([1, 2, 0]);
    interrupts.enable('msi', 0, () => {});
    expectCode('EBUSY', () => interrupts.enable('intx', 0, () => {}));
    expectCode('EBUSY', () => interrupts.enable('msi', 0, () => {}));
    interrupts.enable('msi', 1, () => {});
    interrupts.disable('msi', 0);
    interrupts.disable('msi', 0);
    expectCode('EBUSY', () => interrupts.enable('intx', 0, () => {}));
    interrupts.disable('msi', 1);
    interrupts.enable('intx', 0, () => {});
    interrupts.close();
  });

  it('have their limits', () => {
    const { interrupts } = lineOf().transport;
    for (const vector of [-1, 2, 0.5, Number.NaN])
      expectCode('EINVAL', () => interrupts.enable('msi', vector, () => {}));
    expectCode('EINVAL', () => interrupts.enable('msix', 0, () => {}));
  });
});

describe('INTx', () => {
  it('masks itself until unmasked, and fires again while the line is up', async () => {
    const { model, transport, counts } = lineOf();
    transport.interrupts.enable('intx', 0, (count) => counts.push(count));
    model.bus.raise();
    model.bus.raise();
    await tick();
    expect(counts).toEqual([1]);
    transport.interrupts.unmaskIntx();
    await tick();
    expect(counts).toEqual([1, 1]);
    model.bus.lower();
    transport.interrupts.unmaskIntx();
    await tick();
    expect(counts).toEqual([1, 1]);
    model.bus.raise();
    await tick();
    expect(counts).toEqual([1, 1, 1]);
  });

  it('fires at once when the line is up before it is armed, and shows in the status register', async () => {
    const { model, transport, counts } = lineOf();
    const pending = () => transport.config.read(STATUS, 2) & 8;
    expect(pending()).toBe(0);
    model.bus.raise();
    expect(pending()).toBe(8);
    transport.interrupts.enable('intx', 0, (count) => counts.push(count));
    await tick();
    expect(counts).toEqual([1]);
    model.bus.lower();
    expect(pending()).toBe(0);
  });

  it('waits while the command register disables it', async () => {
    const { model, transport, counts } = lineOf();
    command(transport, INTX_DISABLE);
    transport.interrupts.enable('intx', 0, (count) => counts.push(count));
    model.bus.raise();
    await tick();
    expect(counts).toEqual([]);
    transport.config.write(0x04, 2, 2);
    await tick();
    expect(counts).toEqual([1]);
  });

  it('is absent from a function that has none', () => {
    const { model, transport } = plug(new RecordingModel());
    model.bus.raise();
    expect(transport.config.read(STATUS, 2) & 8).toBe(0);
    expectCode('EINVAL', () => transport.interrupts.enable('intx', 0, () => {}));
  });
});

describe('references', () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

  it('keep the process alive while an armed vector holds one', () => {
    const { interrupts } = lineOf().transport;
    const before = timers();
    interrupts.enable('msi', 0, () => {});
    interrupts.enable('msi', 1, () => {});
    expect(timers()).toBe(before + 1);
    interrupts.setRef('msi', 0, false);
    expect(timers()).toBe(before + 1);
    interrupts.setRef('msi', 1, false);
    expect(timers()).toBe(before);
    interrupts.setRef('msi', 1, true);
    interrupts.setRef('msi', 1, true);
    expect(timers()).toBe(before + 1);
    interrupts.close();
    interrupts.setRef('msi', 1, true);
    expect(timers()).toBe(before);
  });
});
