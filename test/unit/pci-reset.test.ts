/** Resets that fail, and a kernel that refuses a hot reset: what nobody can have on order. */
import { setImmediate as tick } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DmaError, openPci, type PciFunction, type ResetReport } from '../../lib/index.ts';
import { hotReset, hotResetScope } from '../../lib/pci/vfio/hot-reset.ts';
import { FaultInjector, simulate } from '../../lib/sim/index.ts';
import { errorOf } from '../failures.ts';
import { nvmeLike } from '../pci/models.ts';

describe('a reset that the device refuses', () => {
  const REGISTER = 0x14;
  let fn: PciFunction;
  let told: ResetReport[];
  beforeEach(async () => {
    const inject = new FaultInjector({ seed: 1 }).on('reset-fails', { until: 1 });
    fn = await openPci(simulate(nvmeLike(), { inject }));
    told = [];
    fn.onReset((report) => told.push(report));
  });
  afterEach(() => fn.close());

  for (const way of ['reset', 'hotReset'] as const) {
    it(`by ${way} changes nothing, and can be tried again`, async () => {
      fn.setMaster();
      const interrupt = fn.interrupts.msix(5);
      fn.bar(0).write32(REGISTER, 7);
      interrupt.trigger();
      expect(errorOf(() => fn[way]()).code).toBe('EAGAIN');
      expect([fn.bar(0).read32(REGISTER), fn.busMaster, fn.interrupts.armed]).toEqual([7, true, [interrupt]]);
      expect(await interrupt.wait()).toBe(1);
      interrupt.trigger();
      expect(await interrupt.wait()).toBe(1);
      expect(told).toEqual([]);
      const report = fn[way]();
      await tick();
      expect(told).toEqual([report]);
      expect(fn.bar(0).read32(REGISTER)).toBe(0);
    });
  }
});

describe('a hot reset that fails halfway', () => {
  it('is told to who listens, and leaves the function ready to be started anew', async () => {
    const source = simulate(nvmeLike());
    const failure = new DmaError('EIO', 'the link is not back');
    const fn = await openPci({
      open(options) {
        const opened = source.open(options);
        opened.transport.hotReset = () => {
          throw failure;
        };
        return opened;
      },
    });
    const told: ResetReport[] = [];
    fn.onReset((report) => told.push(report));
    fn.config.command = 0;
    expect(errorOf(() => fn.hotReset())).toBe(failure);
    await tick();
    expect(told.map(({ kind, functions }) => [kind, functions])).toEqual([['hot', [fn.address]]]);
    fn.bar(0).read32(0); // decoded again
    fn.close();
  });
});

describe('a hot reset, as the kernel has it', () => {
  const HERE = '0000:05:01.0';
  /** Two functions, in groups 14 and 15. */
  const INFO = [14, 0, 5, 1 << 3, 15, 0, 5, (2 << 3) | 3];

  const elsewhere = (held: readonly number[]) => (group: number) =>
    held.includes(group) ? undefined : `IOMMU group ${group}`;

  function kernel(info: readonly number[] | number, result = 0) {
    return {
      vfioHotResetInfo: () => info,
      vfioHotReset: () => result,
    };
  }

  it('covers what is on the bus', () => {
    expect(hotResetScope(kernel(INFO), 1, HERE, elsewhere([14, 15]))).toEqual([HERE, '0000:05:02.3']);
  });

  it('names who else it would hit, when that is not ours', () => {
    const error = errorOf(() => hotResetScope(kernel(INFO), 1, HERE, elsewhere([14])));
    expect(error.code).toBe('EPERM');
    expect(error.message).toMatch(/0000:05:02\.3 \(IOMMU group 15\)/);
    expect(error.message).not.toMatch(/group 14/);
  });

  it.each([
    [-19, 'EOPNOTSUPP', /root bus/],
    [-25, 'EOPNOTSUPP', /alone/],
    [-12, 'ENOMEM', /nothing was reset/],
    [-11, 'EAGAIN', /nothing was reset/],
  ])('is not offered: %i', (errno, code, words) => {
    const error = errorOf(() => hotResetScope(kernel(errno), 1, HERE, elsewhere([])));
    expect([error.code, words.test(error.message)]).toEqual([code, true]);
  });

  it.each([
    [-11, 'EAGAIN', /try again/],
    [-16, 'EAGAIN', /try again/],
    [-22, 'EPERM', /not bound to vfio-pci: 0000:05:01\.0 \(no driver\)/],
    [-25, 'EIO', /may have been reset nevertheless/],
  ])('fails: %i', (errno, code, words) => {
    const error = errorOf(() => hotReset(kernel(INFO, errno), 1, HERE, [HERE]));
    expect([error.code, words.test(error.message)]).toEqual([code, true]);
  });
});
