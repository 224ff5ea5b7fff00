import { AssertionError } from 'node:assert';
import { describe, expect, it } from 'vitest';
import { DmaError, openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { checkDmaAfterEach, expectNoDmaErrors } from '../../lib/testing/index.ts';

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
  function framework(): { after: () => void; check: ReturnType<typeof checkDmaAfterEach> } {
    let after = (): void => {};
    const check = checkDmaAfterEach((hook) => {
      after = hook;
    });
    return { after: () => after(), check };
  }

  it('is content when everything is closed and nothing reported', async () => {
    const { after } = framework();
    after();
    (await open()).close();
    after();
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
