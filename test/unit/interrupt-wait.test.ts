/** The options of `Interrupt.wait`: a signal and a timeout side by side, and nothing that is silently ignored. */
import { describe, expect, it } from 'vitest';
import { DmaError, openPci } from '../../lib/index.ts';
import type { Interrupt } from '../../lib/interrupts/interrupt.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';

/** Milliseconds that pass in every test that uses them. */
const SOON = 5;
const NEVER = 2 ** 31 - 1;

async function arm() {
  const fn = await openPci(simulate(new EduModel()));
  return { fn, interrupt: fn.interrupts.msi(0) };
}

async function failureOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => expect.unreachable('it resolved'),
    (error: unknown) => error,
  );
}

const HOSTILE: readonly (readonly [string, unknown, RegExp])[] = [
  ['null', null, /the options of wait is null/],
  ['a number', 10, /the options of wait is 10/],
  ['a misspelt name', { timeuot: 10 }, /wait has no option 'timeuot'; did you mean timeout\?/],
  ['an unknown name', { deadline: 10 }, /wait has no option 'deadline'; there are signal, timeout/],
  ['NaN', { timeout: Number.NaN }, /timeout of wait is NaN/],
  ['less than nothing', { timeout: -1 }, /timeout of wait is -1/],
  ['more than a timer counts', { timeout: 2 ** 31 }, /timeout of wait is 2147483648/],
  ['a bigint', { timeout: 10n }, /timeout of wait is the bigint 10n/],
  ['text', { timeout: '10' }, /timeout of wait is the string '10'/],
  ['a controller', { signal: new AbortController() }, /signal of wait is an object of class AbortController/],
];

describe('wait', () => {
  it('ends with ETIMEDOUT when its time is over, and the next interrupt is not lost', async () => {
    const { fn, interrupt } = await arm();
    const error = await failureOf(interrupt.wait({ timeout: SOON }));
    expect(error).toBeInstanceOf(DmaError);
    expect((error as DmaError).code).toBe('ETIMEDOUT');
    expect((error as DmaError).message).toMatch(/^MSI vector 0 did not come in 5 ms/);
    interrupt.trigger();
    expect(await interrupt.wait({ timeout: NEVER })).toBe(1);
    fn.close();
  });

  it('ends with the signal when that comes first', async () => {
    const { fn, interrupt } = await arm();
    const controller = new AbortController();
    const waiting = failureOf(interrupt.wait({ signal: controller.signal, timeout: NEVER }));
    const reason = new Error('enough');
    controller.abort(reason);
    expect(await waiting).toBe(reason);
    fn.close();
  });

  it('ends with the timeout when that comes first', async () => {
    const { fn, interrupt } = await arm();
    const { signal } = new AbortController();
    expect(await failureOf(interrupt.wait({ signal, timeout: 0 }))).toMatchObject({ code: 'ETIMEDOUT' });
    fn.close();
  });

  it('leaves no timer behind, however it ends', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    const { fn, interrupt } = await arm();
    const controller = new AbortController();
    const waits: Promise<unknown>[] = [interrupt.wait({ timeout: NEVER })];
    interrupt.trigger();
    await waits[0];
    waits.push(failureOf(interrupt.wait({ timeout: NEVER, signal: controller.signal })));
    controller.abort();
    await waits[1];
    waits.push(failureOf(interrupt.wait({ timeout: NEVER })));
    fn.close();
    await waits[2];
    expect(timers()).toBe(before);
  });

  it.each(HOSTILE)('refuses %s', async (_name, options, message) => {
    const { fn, interrupt } = await arm();
    const error = await failureOf(interrupt.wait(options as Parameters<Interrupt['wait']>[0]));
    expect(error).toBeInstanceOf(DmaError);
    expect((error as DmaError).code).toBe('EINVAL');
    expect((error as DmaError).message).toMatch(message);
    fn.close();
  });
});
