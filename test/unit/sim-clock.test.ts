import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { SimulatedClock } from '../../lib/sim/clock.ts';
import { simulate } from '../../lib/sim/index.ts';
import { plug, RecordingModel } from './sim-fixture.ts';

describe('simulated time', () => {
  it('runs actions in the order of their time, then of their asking', () => {
    const clock = new SimulatedClock();
    const ran: string[] = [];
    for (const [name, due] of [
      ['c', 30],
      ['a', 10],
      ['b', 20],
      ['b2', 20],
    ] as const) {
      clock.after(due, () => ran.push(`${name}@${clock.now}`));
    }
    clock.advance(19);
    expect(ran).toEqual(['a@10']);
    clock.advance(100);
    expect(ran).toEqual(['a@10', 'b@20', 'b2@20', 'c@30']);
    expect(clock.now).toBe(119);
  });

  it('goes on however an action repeats itself', () => {
    const clock = new SimulatedClock();
    let runs = 0;
    const again = (): void => {
      runs++;
      clock.after(0, again);
    };
    clock.after(0, again);
    clock.advance(10);
    expect(runs).toBe(10);
  });

  it('passes in an idle event loop while started, and only then', async () => {
    const clock = new SimulatedClock();
    const ran: number[] = [];
    clock.after(1_000_000, () => ran.push(1));
    await tick();
    expect(ran).toEqual([]);
    clock.start();
    clock.after(2_000_000, () => ran.push(2));
    await tick();
    await tick();
    expect(ran).toEqual([1, 2]);
    clock.after(1, () => ran.push(3));
    clock.stop();
    await tick();
    expect(ran).toEqual([1, 2]);
  });

  it('survives an action that throws', () => {
    const clock = new SimulatedClock();
    let ran = false;
    clock.after(1, () => {
      throw new Error('broken model');
    });
    clock.after(2, () => {
      ran = true;
    });
    expect(() => clock.advance(5)).toThrow('broken model');
    clock.advance(5);
    expect(ran).toBe(true);
  });

  it('passes with register reads, so that a driver may poll in a loop', () => {
    const { model, transport } = plug(new RecordingModel());
    model.bus.after(50, () => {
      model.value = 1;
    });
    let reads = 1;
    while (transport.bars[0]!.read32(0) === 0) reads++;
    expect(reads).toBe(50);
  });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY, '5', 5n, undefined])('has no time %s', (time) => {
    const { model, bus } = plug(new RecordingModel());
    const message = /^the time that RecordingModel gave to after\(\) is .*; pass simulated microseconds/;
    expect(() => model.bus.after(time as number, () => {})).toThrow(message);
    expect(bus.clock.scheduled).toBe(0);
  });

  it('can be read by the model and by the test', () => {
    const { model, transport } = plug(new RecordingModel());
    transport.bars[0]!.read32(0);
    expect(model.bus.now).toBe(1);
    const source = simulate(new RecordingModel());
    expect(source.now).toBe(0);
    source.model.bus.after(5, () => {});
    expect(source.now).toBe(0);
  });

  it('forgets at a reset what was to happen', () => {
    const { model, transport } = plug(new RecordingModel({ functionLevelReset: true }));
    model.bus.after(1, () => expect.unreachable('it was reset'));
    transport.reset();
    transport.bars[0]!.read32(0);
  });
});
