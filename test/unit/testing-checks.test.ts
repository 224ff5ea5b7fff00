import { AssertionError } from 'node:assert';
import { describe, expect, it } from 'vitest';
import { DmaError, dmaBitMask, openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { checkDmaAfterEach, type DmaCheckOptions, expectNoDmaErrors } from '../../lib/testing/index.ts';

const debug = { print: false } as const;

function open(): Promise<PciFunction> {
  return openPci(simulate(new EduModel()), { debug });
}

/** A mistake that is reported: a mapping used after it was unmapped. */
function useAfterUnmap(fn: PciFunction): void {
  const mapping = fn.dma.mapSingle(new Uint8Array(10), 'to-device');
  mapping.unmap();
  expect(() => mapping.dmaAddress).toThrow(DmaError);
}

function thrown(action: () => unknown): AssertionError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(AssertionError);
    return error as AssertionError;
  }
  return expect.unreachable('AssertionError expected');
}

describe('expectNoDmaErrors', () => {
  it('says nothing of a driver that makes no mistake, open or closed', async () => {
    const fn = await open();
    fn.dma.mapSingle(new Uint8Array(10), 'to-device').unmap();
    expectNoDmaErrors(fn);
    expectNoDmaErrors(fn.dma);
    fn.close();
    expectNoDmaErrors(fn);
  });

  it('shows every report, with its kind and where it was made', async () => {
    using fn = await open();
    useAfterUnmap(fn);
    useAfterUnmap(fn);
    for (const target of [fn, fn.dma]) {
      const { message, stack } = thrown(() => expectNoDmaErrors(target));
      expect(message).toMatch(/^0000:00:10\.0: 2 DMA errors\n1\) used-after-release: .*\n {5}the mistake:\n/);
      expect(message).toMatch(/\n2\) used-after-release: /);
      expect(
        message.match(/at useAfterUnmap \(.*testing-checks\.test\.ts:\d+:\d+\)/g)!.length,
      ).toBeGreaterThan(1);
      expect(message).not.toContain('vitest/runner');
      // The stack starts at the test.
      expect(stack!.slice(message.length).split('\n    at ')[1]).toContain('testing-checks.test.ts');
    }
    fn.dma.debug!.clear();
    expectNoDmaErrors(fn);
  });

  it('shows what was left when the function was closed', async () => {
    const fn = await open();
    fn.dma.allocCoherent(4096);
    fn.close();
    expect(thrown(() => expectNoDmaErrors(fn)).message).toContain('1) pending-at-close: ');
  });

  it('takes in the faults of the IOMMU first', async () => {
    using fn = await open();
    let asked = 0;
    const device = {
      name: 'a device',
      debug: {
        ...fn.dma.debug!,
        reports: fn.dma.debug!.reports,
        errorCount: 0,
        checkFaults: () => {
          asked++;
        },
      },
    };
    expectNoDmaErrors(device as unknown as PciFunction['dma']);
    expect(asked).toBe(1);
  });

  it('cannot say anything without debugging', async () => {
    using fn = await openPci(simulate(new EduModel()), { debug: false });
    expect(() => expectNoDmaErrors(fn)).toThrow(DmaError);
    expect(() => expectNoDmaErrors(fn)).toThrow(/without dma-debug.*USERDMA_DEBUG=1/);
  });
});

describe('checkDmaAfterEach', () => {
  /** A test framework: tests run one after the other, and what the hook throws fails the test. */
  function framework(options: DmaCheckOptions = {}): {
    after: () => void;
    check: ReturnType<typeof checkDmaAfterEach>;
  } {
    let after = (): void => {};
    const check = checkDmaAfterEach((hook) => {
      after = hook;
    }, options);
    return { after: () => after(), check };
  }

  it('is content when everything is closed and nothing reported', async () => {
    const { after } = framework();
    after();
    (await open()).close();
    after();
  });

  it('makes machines hard on the driver: high addresses, memory at the end of a page, and a device that lags', async () => {
    framework();
    using fn = await openPci(simulate(new EduModel({ transferTime: 0 })), { debug });
    fn.dma.setMaskAndCoherent(dmaBitMask(64));
    const page = fn.dma.allocCoherent(4096);
    expect(page.dmaAddress).toBeGreaterThanOrEqual(2n ** 32n);
    const mapping = fn.dma.mapSingle(new Uint8Array(64 * 1024), 'to-device');
    expect(mapping.dmaAddress).toBeGreaterThanOrEqual(2n ** 32n);
    expect(Number(mapping.dmaAddress % 4096n)).toBe(4080);
    mapping.unmap();
    // A narrow device still gets what it can reach.
    fn.dma.setMaskAndCoherent(dmaBitMask(28));
    const narrow = fn.dma.allocCoherent(4096);
    expect(narrow.dmaAddress).toBeLessThan(2n ** 28n);
    fn.setMaster();
    fn.bar(0).write64(0x80, narrow.dmaAddress);
    fn.bar(0).write64(0x88, 0x40000n);
    fn.bar(0).write64(0x90, 4n);
    fn.bar(0).write32(0x98, 1);
    narrow.free();
    expect(fn.dma.debug!.reports.map(({ kind }) => kind)).toEqual(['freed-while-device-uses']);
    page.free();
  });

  it('leaves machines as they are when it is asked to', async () => {
    const { after } = framework({ machine: {} });
    const fn = await openPci(simulate(new EduModel({ transferTime: 0 })), { debug });
    fn.dma.setMaskAndCoherent(dmaBitMask(64));
    expect(fn.dma.allocCoherent(4096, { managed: true }).dmaAddress).toBeLessThan(2n ** 32n);
    fn.bar(0).write64(0x90, 4n);
    fn.close();
    after();
  });

  it('refuses options that it does not have', () => {
    expect(() => checkDmaAfterEach(() => {}, { machines: {} } as object)).toThrow(/no option 'machines'/);
  });

  it('closes a function that was left open, and fails that test only', async () => {
    const { after } = framework();
    const source = simulate(new EduModel());
    const fn = await openPci(source, { debug });
    fn.dma.allocCoherent(4096);
    const { message } = thrown(after);
    expect(message).toContain('0000:00:10.0 is still open after the test, with 1 allocation: close it');
    expect(message).toContain('pending-at-close');
    expect(fn.closed).toBe(true);
    after();
    (await openPci(source)).close();
    after();
  });

  it('tells of a driver that was left open in one line, and of its other mistakes', async () => {
    const { after } = framework();
    const fn = await openPci(simulate(new EduModel()), { debug });
    for (let i = 0; i < 3; i++) fn.dma.allocCoherent(4096);
    const pool = fn.dma.createPool('left', { size: 64 });
    pool.alloc();
    fn.dma.allocNoncoherent(4096, 'from-device');
    fn.dma.mapSingle(new Uint8Array(10), 'to-device');
    const { message } = thrown(after);
    expect(message.match(/pending|still open/g)).toEqual(['pending', 'still open']);
    expect(message.split('\n')).toHaveLength(1);
    const other = await openPci(simulate(new EduModel()), { debug });
    other.dma.allocCoherent(4096);
    useAfterUnmap(other);
    const both = thrown(after).message;
    expect(both.match(/pending-at-close|used-after-release/g)).toEqual([
      'pending-at-close',
      'used-after-release',
    ]);
  });

  it('fails a test whose function has reports, though it was closed', async () => {
    const { after } = framework();
    const fn = await open();
    useAfterUnmap(fn);
    fn.close();
    expect(thrown(after).message).toContain('1) used-after-release');
    after();
  });

  it('shows the problems of all functions at once', async () => {
    const { after } = framework();
    const sources = ['0000:00:01.0', '0000:00:02.0'].map((address) => simulate(new EduModel(), { address }));
    for (const source of sources) await openPci(source, { debug });
    expect(thrown(after).message).toMatch(/0000:00:01\.0 is still open[\s\S]*0000:00:02\.0 is still open/);
  });

  it('leaves a shared function open, and tells every test of its own reports', async () => {
    const { after, check } = framework();
    const fn = check.share(await open());
    after();
    expect(fn.closed).toBe(false);
    useAfterUnmap(fn);
    expect(thrown(after).message).toContain('1) used-after-release');
    after();
    useAfterUnmap(fn);
    thrown(after);
    fn.close();
    after();
    after();
  });

  it('asks of functions without debugging only that they are closed', async () => {
    const { after } = framework();
    const fn = await openPci(simulate(new EduModel()), { debug: false });
    useAfterUnmap(fn);
    fn.close();
    after();
    await openPci(simulate(new EduModel()), { debug: false });
    expect(thrown(after).message).toContain('is still open after the test, with 0 allocations');
  });
});
