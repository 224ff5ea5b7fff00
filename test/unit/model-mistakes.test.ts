/** Mistakes of a model are told by their own name, where they are made. */
import { describe, expect, it } from 'vitest';
import { DmaError, openPci } from '../../lib/index.ts';
import { type FunctionDescription, simulate } from '../../lib/sim/index.ts';
import { Master } from '../master.ts';

const CONFIG: FunctionDescription = { vendorId: 1, deviceId: 2 };

it.each([
  ['capabilities that are no array', { ...CONFIG, capabilities: 5 }, []],
  ['a BAR that is null', CONFIG, [null]],
  ['a BAR that is a number', CONFIG, [5]],
])('%s are EINVAL', (_what, config, bars) => {
  const model = Object.assign(new Master(), { config, bars });
  expect(() => simulate(model as never)).toThrow(DmaError);
});

it('an action that is no function is refused when it is scheduled', async () => {
  const source = simulate(new Master());
  using fn = await openPci(source);
  expect(() => source.model.bus.after(1, 5 as never)).toThrow(
    /Master gave to after\(\) is 5; pass a function/,
  );
  expect(fn.isPresent()).toBe(true);
});

describe.each([['with dma-debug', true] as const, ['without', false] as const])(
  'an address that is none, %s',
  (_how, debug) => {
    it.each([Number.NaN, Number.POSITIVE_INFINITY, 'x', undefined])('%s', async (address) => {
      const source = simulate(new Master());
      using fn = await openPci(source, { debug });
      const { bus } = source.model;
      const calls = {
        report: () => bus.report(address as never, 4, 'read', 'why'),
        dmaRead: () => bus.dmaRead(address as never, new Uint8Array(4)),
        dmaWrite: () => bus.dmaWrite(address as never, new Uint8Array(4)),
      };
      for (const [name, call] of Object.entries(calls)) {
        for (const mastering of [false, true]) {
          if (mastering) fn.setMaster();
          expect(call, name).toThrow(
            expect.objectContaining({
              code: 'EINVAL',
              message: expect.stringContaining('put on the bus is'),
            }),
          );
        }
      }
    });
  },
);
