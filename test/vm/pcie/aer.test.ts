/** Errors that QEMU injects into the device itself, as its AER capability then has them. */
import { AER_CORRECTABLE, AER_UNCORRECTABLE, openPci, type PciFunction } from '../../../lib/index.ts';
import { afterAll, afterEach, assert, beforeAll, beforeEach, describe, it } from '../../harness.ts';
import { NIC, pullOut, putBack } from '../hotplug.ts';
import { Monitor } from '../monitor.ts';

describe('errors of the e1000e', () => {
  let monitor: Monitor;
  let fn: PciFunction;
  beforeAll(async () => {
    monitor = await Monitor.open();
  });
  afterAll(async () => {
    // QEMU's device has no link any more, after its first error: others want it as it was.
    await pullOut(monitor, NIC);
    await putBack(monitor, NIC);
    monitor.close();
  });
  beforeEach(async () => {
    fn = await openPci(NIC.address);
    fn.config.aer!.clear();
  });
  afterEach(() => fn.close());

  async function inject(error: string): Promise<void> {
    const command = `pcie_aer_inject_error ${error}`;
    const answer = await monitor.execute('human-monitor-command', { 'command-line': command });
    assert.match(String(answer), /^OK/);
  }

  it('are there until they are cleared: correctable ones', async () => {
    const aer = fn.config.aer!;
    await inject('nic RCVR');
    assert.equal(aer.correctableStatus, AER_CORRECTABLE.receiverError);
    assert.equal(aer.uncorrectableStatus, 0);
    aer.clear();
    assert.equal(aer.correctableStatus, 0);
  });

  it('are there with the packet that had them: others', async () => {
    const aer = fn.config.aer!;
    await inject('nic POISON_TLP 0x11111111 0x22222222 0x33333333 0x44444444');
    assert.equal(aer.uncorrectableStatus, AER_UNCORRECTABLE.poisonedTlp);
    assert.equal(1 << aer.firstError, AER_UNCORRECTABLE.poisonedTlp);
    assert.deepEqual(aer.headerLog, [0x11111111, 0x22222222, 0x33333333, 0x44444444]);
    aer.clear();
    assert.equal(aer.uncorrectableStatus, 0);
  });

  it('can be masked, and made fatal or not', () => {
    const aer = fn.config.aer!;
    const { correctableMask, uncorrectableSeverity } = aer;
    aer.correctableMask = AER_CORRECTABLE.badTlp;
    aer.uncorrectableSeverity = AER_UNCORRECTABLE.completionTimeout;
    assert.equal(aer.correctableMask, AER_CORRECTABLE.badTlp);
    assert.equal(aer.uncorrectableSeverity, AER_UNCORRECTABLE.completionTimeout);
    aer.correctableMask = correctableMask;
    aer.uncorrectableSeverity = uncorrectableSeverity;
  });
});
