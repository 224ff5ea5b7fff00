/** Power states of a simulated function: what it answers and starts in them, and what it has lost afterwards. */
import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { openPci, type PciFunction } from '../../lib/index.ts';
import { FAULT, type FunctionDescription, type SimulatedSource, simulate } from '../../lib/sim/index.ts';
import { RecordingModel } from './sim-fixture.ts';

interface Slot {
  readonly fn: PciFunction;
  readonly model: RecordingModel;
  readonly source: SimulatedSource;
}

async function open(config: Partial<FunctionDescription> = {}): Promise<Slot> {
  const model = new RecordingModel({ express: true, msi: 1, intx: true, ...config });
  const source = simulate(model);
  const fn = await openPci(source);
  fn.setMaster();
  model.log.length = 0;
  return { fn, model, source };
}

describe.each(['D1', 'D2', 'D3hot'] as const)('in %s', (state) => {
  const config = { power: { d1: true, d2: true } };

  it('a function answers and starts nothing', async () => {
    const { fn, model, source } = await open(config);
    const interrupt = fn.interrupts.msi();
    await fn.setPowerState(state);
    expect(fn.powerState).toBe(state);
    expect(() => fn.bar(0).read32(0)).toThrow(/EIO|no answer/);
    expect(model.log).toEqual([]);
    expect(model.bus.dmaRead(0x1000, new Uint8Array(4))).toBe(false);
    model.bus.raise();
    await tick();
    expect(source.faults.map(({ reason }) => reason)).toEqual([FAULT.asleep, FAULT.asleep]);
    expect(interrupt.count).toBe(0);
    await fn.setPowerState('D0');
    fn.bar(0).read32(0);
    model.bus.raise();
    expect(await interrupt.wait()).toBe(1);
    expect(model.log).toEqual(['read32 0:0']);
    fn.close();
  });

  it('a line that is up is seen again afterwards', async () => {
    const { fn, model } = await open(config);
    const line = fn.interrupts.intx();
    await fn.setPowerState(state);
    model.bus.raise();
    await tick();
    expect(line.count).toBe(0);
    await fn.setPowerState('D0');
    expect(await line.wait()).toBe(1);
    fn.close();
  });
});

describe('on the way', () => {
  it('from D3hot to D0 a function is reset that keeps nothing, and from D1 it is not', async () => {
    const { fn, model } = await open({ power: { noSoftReset: false, d1: true } });
    await fn.setPowerState('D1');
    expect(await fn.setPowerState('D0')).toBeUndefined();
    expect(model.log).toEqual([]);
    await fn.setPowerState('D1');
    await fn.setPowerState('D3hot');
    const report = await fn.setPowerState('D0');
    expect([report?.kind, model.log]).toEqual(['power', ['reset']]);
    fn.close();
  });

  it('up, D0 is the only stop', async () => {
    const { fn } = await open({ power: { d1: true, d2: true } });
    await fn.setPowerState('D2');
    await expect(fn.setPowerState('D1')).rejects.toMatchObject({ code: 'EINVAL' });
    expect(fn.powerState).toBe('D2');
    fn.close();
  });

  it('a function may be closed', async () => {
    const { fn } = await open();
    const changing = fn.setPowerState('D3hot');
    fn.close();
    await expect(changing).rejects.toMatchObject({ code: 'ENODEV' });
  });

  it('a function may stay where it is, which is EIO', async () => {
    const model = new RecordingModel({ express: true });
    const source = simulate(model);
    const fn = await openPci({
      open(options) {
        const opened = source.open(options);
        opened.transport.config.write = () => {}; // deaf
        return opened;
      },
    });
    await expect(fn.setPowerState('D3hot')).rejects.toMatchObject({ code: 'EIO' });
    fn.close();
  });

  it('down, a function needs somebody who restores what it forgets', async () => {
    const openIn = async (noSoftReset: boolean): Promise<PciFunction> => {
      const source = simulate(new RecordingModel({ express: true, power: { noSoftReset } }));
      return openPci({
        open(options) {
          const opened = source.open(options);
          Object.assign(opened.transport, { restoresConfiguration: false });
          return opened;
        },
      });
    };
    const forgetful = await openIn(false);
    await expect(forgetful.setPowerState('D3hot')).rejects.toMatchObject({ code: 'EOPNOTSUPP' });
    expect(forgetful.powerState).toBe('D0');
    const other = await openIn(true);
    await other.setPowerState('D3hot');
    expect(other.powerState).toBe('D3hot');
    forgetful.close();
    other.close();
  });

  it('a hot reset ends in D0', async () => {
    const { fn } = await open();
    await fn.setPowerState('D3hot');
    fn.hotReset();
    expect(fn.powerState).toBe('D0');
    fn.close();
  });
});
