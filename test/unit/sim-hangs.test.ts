/** What would be a silent hang: a wait that nothing will end, and interrupts that reach nobody. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, FaultInjector, type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { RecordingModel } from './sim-fixture.ts';

class Messenger extends RecordingModel {
  constructor() {
    super({ msix: { vectors: 4, bar: 2, table: 0, pending: 0x800 } }, [
      { index: 0, size: 4096 },
      { index: 2, size: 4096 },
    ]);
  }
}

async function open(options: SimulateOptions = {}) {
  const source = simulate(new Messenger(), options);
  const fn = await openPci(source, { debug: { print: false } });
  fn.setMaster();
  return { fn, source, bus: source.model.bus };
}

function kinds(fn: PciFunction): string[] {
  return fn.dma.debug!.reports.map(({ kind, message }) => `${kind}: ${message}`);
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('a wait while nothing is scheduled', () => {
  const warn = vi.spyOn(process, 'emitWarning');
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    vi.stubEnv('USERDMA_DEBUG', '1');
    warn.mockReset().mockImplementation(() => {});
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllEnvs();
  });

  it('says so in the error of its timeout', async () => {
    const { fn } = await open();
    const failure = expect(fn.interrupts.msix(1).wait({ timeout: 20 })).rejects.toThrow(
      /^MSI-X vector 1 did not come in 20 ms: nothing is scheduled in the simulation;/,
    );
    vi.advanceTimersByTime(20);
    await failure;
    fn.close();
  });

  it('says only that time is over when something may still come', async () => {
    const { fn, bus } = await open();
    const failure = expect(fn.interrupts.msix(1).wait({ timeout: 20 })).rejects.toThrow(
      /^MSI-X vector 1 did not come in 20 ms;/,
    );
    bus.after(1000, () => {});
    vi.advanceTimersByTime(20);
    await failure;
    fn.close();
  });

  it('is warned of after a second, once', async () => {
    const { fn } = await open();
    const wait = fn.interrupts.msix(1).wait();
    vi.advanceTimersByTime(999);
    expect(warn).not.toHaveBeenCalled();
    vi.advanceTimersByTime(5000);
    expect(warn.mock.calls.map(([text]) => text)).toEqual([
      '0000:00:10.0: nothing is scheduled, and the driver waits for MSI-X vector 1',
    ]);
    fn.close();
    await expect(wait).rejects.toThrow();
  });

  it('is not warned of when the interrupt came, or something is scheduled', async () => {
    const { fn, bus } = await open();
    const vector = fn.interrupts.msix(1);
    const wait = vector.wait();
    bus.raise(1);
    await wait;
    vi.advanceTimersByTime(2000);
    const other = vector.wait();
    bus.after(1e6, () => {});
    vi.advanceTimersByTime(2000);
    expect(warn).not.toHaveBeenCalled();
    fn.close();
    await expect(other).rejects.toThrow();
  });
});

describe.each([
  ['device', {}],
  ['lagging device', { lag: true }],
] as const)('an interrupt of a %s', (_name, options) => {
  it('to a vector that was never armed is reported, once for each vector', async () => {
    const { fn, bus, source } = await open(options);
    fn.interrupts.msix(1);
    bus.raise(2);
    bus.raise(2);
    bus.raise(1);
    bus.after(5000, () => {});
    while (source.now < 5000) await turn();
    expect(kinds(fn)).toEqual([
      'interrupt-not-armed: 0000:00:10.0: the device sent MSI-X vector 2, which is not armed, and the interrupt is lost; arm it before the device starts, with fn.interrupts.msix(2)',
    ]);
    fn.close();
  });

  it('to a vector that was disarmed may be late, and is not', async () => {
    const { fn, bus } = await open(options);
    fn.interrupts.msix(1);
    fn.interrupts.msix(2).close();
    bus.raise(2);
    await turn();
    await turn();
    expect(kinds(fn)).toEqual([]);
    fn.close();
  });
});

describe('a spurious interrupt', () => {
  it('comes on the vector that was asked for', async () => {
    const inject = new FaultInjector({ seed: 1 }).on('interrupt-spurious', { vector: 3 });
    const { fn } = await open({ inject });
    const vector = fn.interrupts.msix(3);
    fn.bar(0).write32(0, 1);
    expect(await vector.wait()).toBe(1);
    fn.close();
    expect(kinds(fn)).toEqual([]);
  });

  it('does not blame the driver: not while bus mastering is off, and not for a vector that is not armed', async () => {
    const inject = new FaultInjector({ seed: 1 }).on('interrupt-spurious', { vector: 3 });
    const { fn, source } = await open({ inject });
    fn.interrupts.msix(1);
    fn.bar(0).write32(0, 1);
    fn.interrupts.msix(3);
    fn.clearMaster();
    fn.bar(0).write32(0, 1);
    await turn();
    expect(kinds(fn)).toEqual([]);
    expect(source.faults).toEqual([]);
    fn.close();
  });

  it('has a vector that is a whole number', () => {
    expect(() => new FaultInjector().on('interrupt-spurious', { vector: -1 })).toThrow(
      'vector of a fault is -1',
    );
  });
});

it('IOVA ranges given as bigints are refused with the right words', async () => {
  const ranges = [{ start: 0n as unknown as number, end: 0xffff_ffffn as unknown as number }];
  await expect(openPci(simulate(new EduModel(), { ranges }))).rejects.toThrow(
    /an IOVA range from the bigint 0n to the bigint 4294967295n; give numbers, not bigints/,
  );
});

describe('a wrong answer of a model', () => {
  class Liar extends RecordingModel {
    read64(): bigint {
      return this.value as unknown as bigint;
    }
  }

  const ANSWERS = [undefined, null, 2 ** 32 + 5, -(2 ** 31) - 1, 0.5, Number.NaN, '5', 5n, {}];
  for (const options of [{}, { lag: true }, { inject: new FaultInjector({ seed: 1 }) }]) {
    it(`is told of by the name of its class, ${JSON.stringify(Object.keys(options))}`, async () => {
      const source = simulate(new Liar(), options);
      using fn = await openPci(source);
      for (const answer of ANSWERS) {
        source.model.value = answer as number;
        expect(() => fn.bar(0).read32(8)).toThrow(/^Liar answered a 32-bit read at 0x8 of BAR 0 with /);
        expect(() => fn.bar(0).read8(9)).toThrow(/^Liar answered an 8-bit read at 0x9 of BAR 0 with /);
        if (typeof answer === 'bigint') continue;
        expect(() => fn.bar(0).read64(8)).toThrow(/^Liar answered a 64-bit read .*return a bigint/);
      }
      source.model.value = -1;
      expect([fn.bar(0).read32(8), fn.bar(0).read16(8), fn.bar(0).read8(8)]).toEqual([
        0xffffffff, 0xffff, 0xff,
      ]);
    });
  }
});
