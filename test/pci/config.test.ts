/** Configuration space, decoded. What QEMU's devices say is what simulated devices of their kind say. */
import { DmaError, EXPRESS_STATUS, PCI_EXTENDED_CAPABILITY, type PciFunction } from '../../lib/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { edu, nic, nvme, qemuVersion } from './worlds.ts';

describe(`configuration space of ${nvme.name}`, () => {
  let fn: PciFunction;
  beforeEach(async () => {
    fn = await nvme.open();
  });
  afterEach(() => fn.close());

  it('has a header', () => {
    const { config } = fn;
    assert.deepEqual(
      [config.vendorId, config.deviceId, config.revisionId, config.classCode],
      [0x1b36, 0x0010, 2, 0x010802],
    );
    assert.deepEqual([config.subsystemVendorId, config.subsystemId], [0x1af4, 0x1100]);
    assert.deepEqual([config.headerType, config.multiFunction, config.bist], [0, false, 0]);
    assert.deepEqual([config.latencyTimer, config.interruptPin, config.size], [0, 1, 4096]);
  });

  it('has MSI-X whose table is among the registers', () => {
    const msix = fn.config.msix!;
    assert.deepEqual([msix.vectors, msix.enabled, msix.functionMask], [65, false, false]);
    assert.deepEqual(msix.table, { bar: 0, offset: 0x2000, size: 65 * 16 });
    assert.deepEqual(msix.pending, { bar: 0, offset: 0x3000, size: 16 });
    assert.equal(fn.config.msi, undefined);
    assert.equal(fn.config.msix, msix);
  });

  it('has power management', () => {
    const pm = fn.config.powerManagement!;
    assert.deepEqual([pm.version, pm.supportsD1, pm.supportsD2, pm.noSoftReset], [3, false, false, true]);
    assert.deepEqual([pm.state, pm.pmeStates, pm.pmeEnabled, pm.pmeStatus], ['D0', [], false, false]);
  });

  it('is PCI Express', () => {
    const express = fn.config.express!;
    assert.deepEqual([express.version, express.portType, express.functionLevelReset], [2, 'endpoint', true]);
    assert.deepEqual(
      [express.maxPayloadSupported, express.maxPayload, express.maxReadRequest],
      [128, 128, 128],
    );
    assert.deepEqual([express.relaxedOrdering, express.noSnoop], [false, false]);
    assert.equal(express.deviceStatus & ~EXPRESS_STATUS.unsupportedRequest, 0);
    assert.deepEqual(express.linkCapabilities, { speed: 2.5, width: 1 });
    assert.deepEqual(express.linkStatus, { speed: 2.5, width: 1 });
    assert.deepEqual(express.completionTimeout, { min: 50, max: 50_000 });
    assert.deepEqual([express.completionTimeoutDisabled, express.completionTimeoutRanges], [false, 0]);
    assert.equal(express.transactionsPending, false);
  });

  it('has no extended capability', () => {
    assert.deepEqual([...fn.config.extendedCapabilities()], []);
    for (const name of ['aer', 'acs', 'ats', 'pri', 'pasid', 'sriov', 'serialNumber'] as const) {
      assert.equal(fn.config[name], undefined, name);
    }
    assert.deepEqual(fn.config.vendorSpecific, []);
  });
});

describe(`configuration space of ${nic.name}`, () => {
  let fn: PciFunction;
  beforeEach(async () => {
    fn = await nic.open();
  });
  afterEach(() => fn.close());

  it('has one MSI vector, and five of MSI-X in a BAR of their own', () => {
    const { msi, msix } = fn.config;
    assert.deepEqual(
      [msi?.vectors, msi?.enabledVectors, msi?.is64Bit, msi?.perVectorMask, msi?.enabled],
      [1, 1, true, false, false],
    );
    assert.equal(msix?.vectors, 5);
    assert.deepEqual(msix?.table, { bar: 3, offset: 0, size: 80 });
    assert.deepEqual(msix?.pending, { bar: 3, offset: 0x2000, size: 8 });
  });

  it('loses its registers in D3hot', () => {
    assert.equal(fn.config.powerManagement?.noSoftReset, false);
  });

  it('reports errors', () => {
    const aer = fn.config.aer!;
    assert.deepEqual([aer.uncorrectableStatus, aer.correctableStatus], [0, 0]);
    // Internal errors and the overflow of the header log. Linux 7 unmasks the errors that are advisory, 6.12 does not.
    const advisory = 0x2000;
    assert.equal(aer.correctableMask & ~advisory, 0xc000);
    // Internal errors and blocked prefixes, by a mask that QEMU before 8 does not have.
    const masked = qemuVersion() >= 8 ? 0x0240_0000 : 0;
    assert.deepEqual([aer.uncorrectableMask, aer.uncorrectableSeverity], [masked, 0x00462030]);
    assert.deepEqual([aer.firstError, aer.headerLog], [0, [0, 0, 0, 0]]);
    aer.clear();
    assert.equal(aer.uncorrectableStatus, 0);
  });

  it('has a serial number', () => {
    assert.equal(fn.config.serialNumber, 0x525400ffff123456n);
  });

  it('lists its extended capabilities', () => {
    const list = [...fn.config.extendedCapabilities()];
    assert.deepEqual(
      list.map(({ id, version }) => [id, version]),
      [
        [PCI_EXTENDED_CAPABILITY.aer, 2],
        [PCI_EXTENDED_CAPABILITY.serialNumber, 1],
      ],
    );
    for (const { id, offset } of list) assert.equal(fn.config.findExtendedCapability(id), offset);
    assert.equal(fn.config.findExtendedCapability(PCI_EXTENDED_CAPABILITY.ats), undefined);
  });
});

describe(`configuration space of ${edu.name}`, () => {
  it('is conventional, with MSI alone', async () => {
    using fn = await edu.open();
    const { config } = fn;
    assert.equal(config.msi?.vectors, 1);
    for (const name of ['powerManagement', 'msix', 'express', 'aer', 'serialNumber'] as const) {
      assert.equal(config[name], undefined, name);
    }
    assert.deepEqual([...config.extendedCapabilities()], []);
  });

  it('answers nothing any more once it is closed', async () => {
    const fn = await edu.open();
    const { msi } = fn.config;
    fn.close();
    for (const access of [() => msi?.enabled, () => fn.config.express]) {
      assert.throws(access, (error: DmaError) => error instanceof DmaError && error.code === 'ENODEV');
    }
  });
});
