/** The device is pulled out in the middle of something: `unplug` is called by the model or by a callback of the driver. */
import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { DmaError, openPci, type PciFunction } from '../../lib/index.ts';
import {
  type DeviceBus,
  type DeviceModel,
  type SimulatedSource,
  simulate,
  type Width,
} from '../../lib/sim/index.ts';

/** A device whose every callback can do something else. */
class Trapped implements DeviceModel {
  readonly config = { vendorId: 0x1234, deviceId: 1, msi: 2, functionLevelReset: true, express: true };
  readonly bars = [{ index: 0, size: 4096 }];
  bus!: DeviceBus;
  trap: (() => void) | undefined;

  attach(bus: DeviceBus): void {
    this.bus = bus;
  }

  reset(): void {
    this.spring();
  }

  read(_bar: number, _offset: number, _width: Width): number {
    this.spring();
    return 0x55;
  }

  write(_bar: number, offset: number): void {
    if (offset === 8) this.bus.after(10, () => this.spring());
    else if (offset === 16) this.bus.raise(0);
    else this.spring();
  }

  spring(): void {
    const { trap } = this;
    this.trap = undefined;
    trap?.();
  }
}

interface Bench {
  readonly source: SimulatedSource<Trapped>;
  readonly fn: PciFunction;
  readonly model: Trapped;
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return error instanceof DmaError ? error.code : String(error);
  }
  return 'none';
}

/** By name: how it comes to `unplug`. Returns what the call that led there ended with, if there is one. */
const WAYS: Readonly<Record<string, (bench: Bench) => unknown>> = {
  'the model, in a register read': ({ fn, model, source }) => {
    model.trap = () => source.unplug();
    return codeOf(() => fn.bar(0).read32(0));
  },
  'the model, in a register write': ({ fn, model, source }) => {
    model.trap = () => source.unplug();
    return codeOf(() => fn.bar(0).write32(0, 1));
  },
  'the model, in a write of 64 bits': ({ fn, model, source }) => {
    model.trap = () => source.unplug();
    return codeOf(() => fn.bar(0).write64LoHi(0, 1n));
  },
  'the model, in its reset': ({ fn, model, source }) => {
    model.trap = () => source.unplug();
    return codeOf(() => fn.reset());
  },
  'the model, later': async ({ fn, model, source }) => {
    model.trap = () => source.unplug();
    fn.bar(0).write32(8, 1);
    await fn.interrupts
      .msi(1)
      .wait({ timeout: 1000 })
      .catch(() => {});
  },
  'the model, before it raises an interrupt and writes memory': ({ fn, model, source }) => {
    const ring = fn.dma.allocCoherent(64);
    model.trap = () => {
      source.unplug();
      model.bus.dmaWrite(Number(ring.dmaAddress), new Uint8Array(8).fill(9));
      model.bus.raise(0);
      model.bus.after(5, () => expect.unreachable('nothing happens in a device that is gone'));
    };
    const code = codeOf(() => fn.bar(0).write32(0, 1));
    expect(ring.bytes.every((byte) => byte === 0)).toBe(true);
    return code;
  },
  'an interrupt listener of the driver': async ({ fn, source }) => {
    fn.interrupts.msi(0).listen(() => source.unplug());
    fn.bar(0).write32(16, 1);
    while (!fn.gone.aborted) await tick();
  },
  'a continuation of a wait': async ({ fn, source }) => {
    const waited = fn.interrupts.msi(0).wait();
    fn.bar(0).write32(16, 1);
    await waited;
    source.unplug();
  },
  'a listener of gone, once more': ({ fn, source }) => {
    fn.gone.addEventListener('abort', () => source.unplug());
    source.unplug();
  },
  'a listener of gone, which closes the function': ({ fn, source }) => {
    fn.gone.addEventListener('abort', () => fn.close());
    source.unplug();
  },
  'a report of dma-debug': ({ fn, source }) => {
    fn.dma.debug!.onReport(() => source.unplug());
    const mapping = fn.dma.mapSingle(new Uint8Array(8), 'to-device');
    mapping.unmap();
    return codeOf(() => mapping.unmap()) === 'EINVAL' ? undefined : 'no EINVAL';
  },
};

describe.each([
  ['', {}],
  [', a device that lags', { lag: { seed: 3 } }],
] as const)('unplug called inside a callback%s', (_name, machine) => {
  it.each(Object.entries(WAYS))('by %s', async (_way, pull) => {
    const model = new Trapped();
    const source = simulate(model, machine);
    const fn = await openPci(source, { debug: { print: false } });
    fn.setMaster();
    const pending = fn.interrupts
      .msi(0)
      .wait()
      .catch((error: DmaError) => error.code);
    const ended = await pull({ source, fn, model });
    if (ended !== undefined) expect(['ENODEV', 'none']).toContain(ended);
    await tick();
    expect(fn.gone.aborted).toBe(true);
    if (!fn.closed) {
      expect(codeOf(() => fn.bar(0).read32(0))).toBe('ENODEV');
      expect(codeOf(() => fn.reset())).toBe('ENODEV');
    }
    fn.close();
    expect([1, 'ENODEV', 'ECANCELED']).toContain(await pending);
    source.plugIn();
    const again = await openPci(source);
    expect(again.bar(0).read32(0)).toBe(0x55);
    again.setMaster();
    const answered = again.interrupts.msi(0).wait();
    again.bar(0).write32(16, 1);
    expect(await answered).toBe(1);
    again.close();
  });
});
