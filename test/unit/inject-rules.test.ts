import { describe, expect, it } from 'vitest';
import { EduModel, FaultInjector, type FaultKind, type FaultTiming, simulate } from '../../lib/sim/index.ts';
import { expectCode } from './sim-fixture.ts';

function slot(): { clock: { now: number }; plugged: boolean; unplug(): void } {
  return { clock: { now: 0 }, plugged: true, unplug() {} };
}

/** Opportunities, of so many, at which the rules strike. */
function struck(injector: FaultInjector, kind: FaultKind, of: number): number[] {
  const at: number[] = [];
  for (let n = 1; n <= of; n++) if (injector.strike(kind) !== undefined) at.push(n);
  return at;
}

function joined(seed = 1): FaultInjector {
  const injector = new FaultInjector({ seed });
  injector.join(slot());
  return injector;
}

describe('when a fault strikes', () => {
  it.each<[FaultTiming, number[]]>([
    [{}, [1, 2, 3, 4, 5, 6]],
    [{ nth: 3 }, [3]],
    [{ after: 4 }, [5, 6]],
    [{ until: 2 }, [1, 2]],
    [{ after: 1, until: 3 }, [2, 3]],
    [{ nth: 2, after: 2 }, []],
    [{ probability: 0 }, []],
    [{ probability: 1, after: 5 }, [6]],
  ])('%j', (when, expected) => {
    expect(struck(joined().on('no-memory', when), 'no-memory', 6)).toEqual(expected);
  });

  it('is drawn as often as the probability says', () => {
    for (const probability of [0.01, 0.3, 0.9]) {
      const hits = struck(joined(7).on('no-memory', { probability }), 'no-memory', 20_000).length;
      expect(Math.abs(hits / 20_000 - probability)).toBeLessThan(0.015);
    }
  });

  it('follows from the seed, rule by rule', () => {
    const half = { probability: 0.5 };
    const alone = struck(joined(5).on('no-memory', half), 'no-memory', 200);
    expect(struck(joined(5).on('no-memory', half), 'no-memory', 200)).toEqual(alone);
    expect(struck(joined(6).on('no-memory', half), 'no-memory', 200)).not.toEqual(alone);
    const other = joined(5).on('map-limit', half).on('no-memory', half);
    expect(struck(other, 'map-limit', 200)).not.toEqual(alone);
    expect(struck(other, 'no-memory', 200)).toEqual(alone);
    // What a further condition lets through is a part of the same sequence.
    const later = struck(joined(5).on('no-memory', { ...half, after: 100 }), 'no-memory', 200);
    expect(later).toEqual(alone.filter((n) => n > 100));
  });

  it('means the same faults in later versions, whatever kinds there are', () => {
    const half = { probability: 0.5 };
    expect(struck(joined(5).on('map-limit', half), 'map-limit', 20)).toEqual([2, 7, 11, 12, 13, 14, 16, 17]);
    expect(struck(joined(5).on('vector-limit', half), 'vector-limit', 20)).toEqual([
      2, 6, 7, 10, 12, 13, 14, 15, 16, 19, 20,
    ]);
  });

  it('rules of one kind stand side by side', () => {
    const both = joined().on('no-memory', { nth: 2 }).on('no-memory', { nth: 4 });
    expect(struck(both, 'no-memory', 6)).toEqual([2, 4]);
    expect(both.total).toBe(2);
  });

  it('until they are taken away', () => {
    const injector = joined().on('no-memory').on('no-iova');
    expect(struck(injector.off('no-memory'), 'no-memory', 2)).toEqual([]);
    expect(struck(injector, 'no-iova', 2)).toEqual([1, 2]);
    expect(struck(injector.off(), 'no-iova', 2)).toEqual([]);
  });

  it('conditions that nothing can meet are refused', () => {
    const injector = joined();
    for (const when of [
      { nth: 0 },
      { nth: 1.5 },
      { after: -1 },
      { until: 0 },
      { probability: 1.1 },
      { probability: Number.NaN },
      { microseconds: 0 },
    ]) {
      expectCode('EINVAL', () => injector.on('no-memory', when));
    }
    expectCode('EINVAL', () => injector.on('sunspots' as FaultKind));
    for (const seed of [-1, 0.5, 2 ** 32]) expectCode('EINVAL', () => new FaultInjector({ seed }));
    expect(struck(injector, 'no-memory', 3)).toEqual([]);
  });
});

describe('the log of an injector', () => {
  it('has kind, time and count, and prints the seed', () => {
    const injector = new FaultInjector({ seed: 99 });
    const place = slot();
    injector.join(place);
    injector.on('no-memory', { nth: 2 }).on('no-iova');
    injector.strike('no-memory');
    place.clock.now = 12;
    injector.strike('no-memory');
    place.clock.now = 15;
    injector.strike('no-iova');
    expect(injector.log).toEqual([
      { kind: 'no-memory', time: 12, count: 2 },
      { kind: 'no-iova', time: 15, count: 1 },
    ]);
    expect(String(injector)).toBe(
      'seed 99, 2 faults injected\n  12 us: no-memory, opportunity 2\n  15 us: no-iova, opportunity 1',
    );
  });

  it('keeps the newest thousand', () => {
    const injector = joined().on('no-memory');
    struck(injector, 'no-memory', 1500);
    expect([injector.total, injector.log.length, injector.log[0]!.count]).toEqual([1500, 1000, 501]);
  });

  it('has a seed of its own when none is given', () => {
    const { seed } = new FaultInjector();
    expect(Number.isInteger(seed)).toBe(true);
    expect(new FaultInjector().seed).not.toBe(seed);
  });

  it('belongs to one simulation', () => {
    const inject = new FaultInjector();
    simulate(new EduModel(), { inject });
    expectCode('EBUSY', () => simulate(new EduModel(), { inject }));
  });
});
