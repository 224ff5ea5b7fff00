/** What dma-debug makes of the kernel's log when a device goes where it may not: for each IOMMU that there is. */
import { setTimeout as pass } from 'node:timers/promises';
import { Edu } from '../../examples/edu/driver.ts';
import { type DmaReport, openPci, type PciFunction } from '../../lib/index.ts';
import { skipWithout } from '../absent.ts';
import { assert, beforeEach, describe, it as test } from '../harness.ts';
import { device } from './devices.ts';

/** One word: some IOMMUs log a line for each. */
const LENGTH = 4;
/** The kernel logs ten lines of faults at most in so many milliseconds, and for Intel counts three for each. */
const RATE_LIMIT = 5500;

async function open(): Promise<Edu> {
  return new Edu(await openPci(device('USERDMA_TEST_EDU'), { debug: { print: false } }));
}

function only(fn: PciFunction): DmaReport {
  const reports = fn.dma.debug!.reports;
  const all = reports.map(({ kind, message }) => `${kind}: ${message}`).join('\n');
  assert.equal(reports.length, 1, all === '' ? 'no report' : all);
  const report = reports[0]!;
  assert.equal(report.kind, 'iommu-fault');
  assert.ok(report.fault !== undefined);
  return report;
}

/** The fault is at an address: some IOMMUs name the page only. */
function isAt({ fault, message }: DmaReport, address: bigint): void {
  assert.equal(fault!.address & ~0xfffn, address & ~0xfffn, message);
}

/** The stack starts in this file. */
function isHere(stack: string | undefined, name: string): void {
  assert.match(stack?.split('\n')[0] ?? 'no stack', new RegExp(`${name} .*vm/fault-reports\\.js:`));
}

export function testFaultReports(): void {
  const iommu = process.env.USERDMA_TEST_IOMMU;
  /** Whether the IOMMU says of an address without a mapping what the device tried there. */
  const tellsAccess = iommu !== 'virtio';
  const it = (name: string, body: () => Promise<void>): void =>
    test(name, () => {
      skipWithout('log of faults');
      return body();
    });

  describe(`faults of IOMMU ${iommu}`, () => {
    // Of the guest's time, which costs nothing while the guest is idle.
    beforeEach(() => pass(RATE_LIMIT));

    it('are reported where nothing ever was', async () => {
      using edu = await open();
      const { fn } = edu;
      const address = 0x70_0000n;
      await edu.writeAnywhere(address, LENGTH);
      const report = only(fn);
      isAt(report, address);
      assert.equal(report.fault!.access, tellsAccess ? 'write' : 'unknown');
      assert.match(report.message, /nothing is or was there lately, a coherent buffer of 4096 bytes .* away/);
      assert.equal(report.mappedAt, undefined);
    });

    it('are reported with the stacks of what was there, once', async () => {
      using edu = await open();
      const { fn } = edu;
      const allocate = () => fn.dma.allocCoherent(4096);
      const page = allocate();
      const address = page.dmaAddress;
      const release = () => page.free();
      release();
      await edu.writeAnywhere(address + 128n, LENGTH);
      await edu.writeAnywhere(address, LENGTH);
      const report = only(fn);
      isAt(report, address);
      assert.match(report.message, /a coherent buffer of 4096 bytes .* was there until it was freed/);
      isHere(report.mappedAt, 'allocate');
      isHere(report.releasedAt, 'release');
      assert.equal(report.mistakeAt, undefined);
    });

    it('are reported with the stack of what is there for reading only', async () => {
      using edu = await open();
      const { fn } = edu;
      const allocate = () => fn.dma.allocNoncoherent(4096, 'to-device');
      const buffer = allocate();
      buffer.syncForDevice();
      await edu.writeAnywhere(buffer.dmaAddress + 256n, LENGTH);
      const report = only(fn);
      isAt(report, buffer.dmaAddress);
      assert.equal(report.fault!.access, 'write');
      assert.match(
        report.message,
        /a noncoherent buffer .* is there; map it 'from-device' or 'bidirectional'/,
      );
      assert.equal(report.direction, 'to-device');
      isHere(report.mappedAt, 'allocate');
      assert.ok(buffer.bytes.every((byte) => byte === 0));
      buffer.free();
    });

    it('are still taken in when the function is closed', async () => {
      using edu = await open();
      const { fn } = edu;
      await edu.writeAnywhere(0x71_0000n, LENGTH);
      edu.close();
      isAt(only(fn), 0x71_0000n);
    });

    it("of before the opening are nobody's", async () => {
      {
        using edu = await open();
        await edu.writeAnywhere(0x72_0000n, LENGTH);
      }
      using edu = await open();
      const { fn } = edu;
      fn.dma.debug!.checkFaults();
      assert.equal(fn.dma.debug!.reports.length, 0);
    });
  });
}
