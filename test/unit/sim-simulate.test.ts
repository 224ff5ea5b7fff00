import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { DmaError } from '../../lib/errors.ts';
import { dmaBitMask, openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, type SimulatedSource, simulate } from '../../lib/sim/index.ts';
import { expectCode } from './sim-fixture.ts';

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error: unknown) => (error as DmaError).code,
  );
}

function startTransfer(fn: PciFunction, address: bigint): void {
  const bar = fn.bar(0);
  bar.write64(0x80, 0x40000n);
  bar.write64(0x88, address);
  bar.write64(0x90, 64n);
  bar.write32(0x98, 3);
}

describe('simulate', () => {
  it('is opened by one driver at a time, again and again', async () => {
    const source = simulate(new EduModel());
    const first = await openPci(source);
    expect([first.address, first.transport]).toEqual(['0000:00:10.0', 'simulated']);
    expect(await codeOf(openPci(source))).toBe('EBUSY');
    first.bar(0).write32(4, 0);
    first.setMaster();
    first.close();
    const second = await openPci(source);
    expect(second.busMaster).toBe(false);
    expect(second.bar(0).read32(4)).toBe(0xffffffff);
    second.close();
  });

  it('keeps machines apart', async () => {
    using one = await openPci(simulate(new EduModel()));
    using two = await openPci(simulate(new EduModel()));
    one.bar(0).write32(4, 0);
    expect(two.bar(0).read32(4)).toBe(0);
  });

  it('lets a transfer in flight at close touch nothing, not even of the next driver', async () => {
    const source = simulate(new EduModel());
    const first = await openPci(source);
    first.setMaster();
    first.dma.setMaskAndCoherent(dmaBitMask(28));
    const lost = first.dma.allocCoherent(4096);
    startTransfer(first, lost.dmaAddress);
    first.close();
    for (let i = 0; i < 3; i++) await tick();
    expect(source.faults).toEqual([]);
    using second = await openPci(source);
    second.dma.allocCoherent(4096).bytes.fill(0xee);
    for (let i = 0; i < 3; i++) await tick();
    expect(source.faults).toMatchObject([{ size: 64, access: 'write', reason: 'bus mastering is off' }]);
  });

  it('reports a stale descriptor where it is made, if asked to', async () => {
    const seen: string[] = [];
    const source: SimulatedSource<EduModel> = simulate(new EduModel(), {
      onFault: ({ reason }) => seen.push(reason),
    });
    expect(source.model).toBeInstanceOf(EduModel);
    using fn = await openPci(source);
    fn.dma.setMaskAndCoherent(dmaBitMask(28));
    fn.setMaster();
    const buffer = fn.dma.allocCoherent(4096);
    const { dmaAddress } = buffer;
    startTransfer(fn, dmaAddress);
    buffer.free();
    while (fn.bar(0).read32(0x98) & 1);
    expect(source.faults).toEqual([{ address: dmaAddress, size: 64, access: 'write', reason: 'not mapped' }]);
    expect(seen).toEqual(['not mapped']);
  });

  it('has the limits it was given', async () => {
    using fn = await openPci(simulate(new EduModel(), { memoryLimit: 8192, mappingLimit: 1 }));
    const buffer = fn.dma.allocCoherent(4096);
    expectCode('ENOSPC', () => fn.dma.allocCoherent(4096));
    buffer.free();
    expectCode('ENOMEM', () => fn.dma.allocCoherent(8193));
    fn.dma.allocCoherent(8192);
  });

  it('takes the address windows and the page size of another machine', async () => {
    const ranges = [{ start: 0x800000, end: 0xffffff }];
    using fn = await openPci(simulate(new EduModel(), { ranges, pageSize: 16384, address: '0001:02:03.4' }));
    expect(fn.address).toBe('0001:02:03.4');
    const { dmaAddress } = fn.dma.allocCoherent(1);
    expect(dmaAddress >= 0x800000n && dmaAddress <= 0xffffffn && dmaAddress % 16384n === 0n).toBe(true);
    expect(fn.dma.supported(dmaBitMask(20))).toBe(false);
  });

  it('knows one function by every spelling of its address', async () => {
    for (const address of ['00000000:00:02.0', '0000:00:02.0', '00:02.0']) {
      using fn = await openPci(simulate(new EduModel(), { address }));
      expect(fn.address).toBe('0000:00:02.0');
    }
  });

  it('refuses addresses no function has', () => {
    for (const address of ['', '10.0', '0000:00:10', '0000:00:20.0', '0000:00:10.8', '../etc']) {
      expectCode('EINVAL', () => simulate(new EduModel(), { address }));
    }
  });

  it('is busy no longer than open when the options are impossible', async () => {
    const source = simulate(new EduModel(), { pageSize: 5000 });
    expect(await codeOf(openPci(source))).toBe('EINVAL');
    expect(await codeOf(openPci(source))).toBe('EINVAL');
  });
});
