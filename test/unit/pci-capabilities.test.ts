/** Capability lists and capabilities out of raw bytes: those of devices nobody here has, and of broken ones. */
import { describe, expect, it } from 'vitest';
import { EXPRESS_STATUS, PCI_STATUS } from '../../lib/index.ts';
import { ConfigSpace } from '../../lib/pci/config-space.ts';

const CAPABILITIES = 1 << 4;

/** Configuration space in which everything can be written. `words` are 32 bits wide, by offset. */
function space(words: Record<number, number>, size = 4096): ConfigSpace {
  const view = new DataView(new ArrayBuffer(size));
  view.setUint16(0x06, CAPABILITIES, true);
  for (const [offset, word] of Object.entries(words)) view.setUint32(Number(offset), word, true);
  return new ConfigSpace({
    size,
    read: (offset, width) =>
      width === 1
        ? view.getUint8(offset)
        : width === 2
          ? view.getUint16(offset, true)
          : view.getUint32(offset, true),
    write: (offset, width, value) => {
      if (width === 2) view.setUint16(offset, value, true);
      else view.setUint32(offset, value, true);
    },
  });
}

const offsets = (list: Iterable<{ offset: number }>): number[] => [...list].map(({ offset }) => offset);

describe('the capability list', () => {
  it('ends where it loops, leaves the space or nobody answers', () => {
    expect(offsets(space({ 52: 0x40, 64: 0x5005, 80: 0x4001 }).capabilities())).toEqual([0x40, 0x50]);
    expect(offsets(space({ 52: 0x40, 64: 0x1005 }).capabilities())).toEqual([0x40]);
    expect(offsets(space({ 52: 0x40, 64: 0xffffffff }).capabilities())).toEqual([]);
  });
});

describe('the extended capability list', () => {
  const first = 0x100;
  const link = (id: number, next: number): number => (id | (1 << 16) | (next << 20)) >>> 0;

  it('ends where it loops, leaves the space or nobody answers', () => {
    expect(offsets(space({ [first]: link(1, 0x140), 320: link(3, 0x100) }).extendedCapabilities())).toEqual([
      0x100, 0x140,
    ]);
    expect(offsets(space({ [first]: link(1, 0x40) }).extendedCapabilities())).toEqual([0x100]);
    expect(offsets(space({ [first]: link(1, 0xffc), 4092: link(3, 0) }).extendedCapabilities())).toEqual([
      0x100, 0xffc,
    ]);
    expect(offsets(space({ [first]: 0xffffffff }).extendedCapabilities())).toEqual([]);
    expect(offsets(space({}).extendedCapabilities())).toEqual([]);
    expect(offsets(space({}, 256).extendedCapabilities())).toEqual([]);
  });

  it('goes on behind a head that the host hides', () => {
    const config = space({ [first]: link(0, 0x140), 320: link(3, 0), 324: 0x89abcdef, 328: 0x01234567 });
    expect(offsets(config.extendedCapabilities())).toEqual([0x140]);
    expect(config.serialNumber).toBe(0x0123456789abcdefn);
  });
});

describe('capabilities', () => {
  const at = (words: Record<number, number>): ConfigSpace => space({ 52: 0x40, ...words });

  it('power management', () => {
    const pm = at({ 64: 0x7e030001, 68: 0x00008102 }).powerManagement!;
    expect([pm.version, pm.supportsD1, pm.supportsD2, pm.noSoftReset, pm.state]).toEqual([
      3,
      true,
      true,
      false,
      'D2',
    ]);
    expect([pm.pmeStates, pm.pmeEnabled, pm.pmeStatus]).toEqual([['D0', 'D1', 'D2', 'D3hot'], true, true]);
    pm.writeState('D3hot');
    expect(pm.state).toBe('D3hot');
    expect([pm.pmeEnabled, pm.pmeStatus]).toEqual([true, false]); // written as 0, which leaves the bit as it is
    expect(() => at({ 64: 0x00030001 }).powerManagement!.writeState('D1')).toThrow(/D0, D3hot/);
  });

  it('MSI', () => {
    const msi = at({ 64: 0x01ab0005 }).msi!;
    expect([msi.enabled, msi.vectors, msi.enabledVectors, msi.is64Bit, msi.perVectorMask]).toEqual([
      true,
      32,
      4,
      true,
      true,
    ]);
  });

  it('MSI-X', () => {
    const msix = at({ 64: 0xc7ff0011, 68: 0x80000004, 72: 0x80008005 }).msix!;
    expect([msix.vectors, msix.enabled, msix.functionMask]).toEqual([2048, true, true]);
    expect(msix.table).toEqual({ bar: 4, offset: 0x80000000, size: 32768 });
    expect(msix.pending).toEqual({ bar: 5, offset: 0x80008000, size: 256 });
  });

  it('PCI Express', () => {
    const express = at({
      64: 0x00920010,
      68: 0x10000002,
      72: 0x00255850,
      76: 0x00000105,
      80: 0x01030000,
      100: 0x0000000f,
      104: 0x00000016,
    }).express!;
    expect([express.version, express.portType, express.functionLevelReset]).toEqual([
      2,
      'root-complex-endpoint',
      true,
    ]);
    expect([express.maxPayloadSupported, express.maxPayload, express.maxReadRequest]).toEqual([
      512, 512, 4096,
    ]);
    expect([express.relaxedOrdering, express.noSnoop, express.transactionsPending]).toEqual([
      true,
      true,
      true,
    ]);
    expect(express.deviceStatus & EXPRESS_STATUS.fatalError).toBeTruthy();
    expect(express.linkCapabilities).toEqual({ speed: 32, width: 16 });
    expect(express.linkStatus).toEqual({ speed: 8, width: 16 });
    expect(express.completionTimeout).toEqual({ min: 65_000, max: 210_000 });
    expect([express.completionTimeoutDisabled, express.completionTimeoutRanges]).toEqual([true, 15]);
  });

  it('of a vendor', () => {
    const config = at({ 64: 0xaa085009, 80: 0xbb040009 });
    expect(config.vendorSpecific.map((one) => [one.size, one.read8(3)])).toEqual([
      [8, 0xaa],
      [4, 0xbb],
    ]);
    for (const outside of [8, -1, 1.5]) {
      expect(() => config.vendorSpecific[0]!.read8(outside)).toThrow(
        expect.objectContaining({ code: 'EINVAL' }),
      );
    }
  });

  const extended = (id: number, words: number[]): ConfigSpace =>
    space(Object.fromEntries([id | 0x10000, ...words].map((word, index) => [0x100 + 4 * index, word])));

  it('AER', () => {
    const aer = extended(0x01, [1, 2, 3, 4, 5, 0x34, 6, 7, 8, 9]).aer!;
    expect([aer.uncorrectableStatus, aer.uncorrectableMask, aer.uncorrectableSeverity]).toEqual([1, 2, 3]);
    expect([aer.correctableStatus, aer.correctableMask, aer.firstError]).toEqual([4, 5, 0x14]);
    expect(aer.headerLog).toEqual([6, 7, 8, 9]);
    aer.uncorrectableMask = 0x100;
    aer.uncorrectableSeverity = 0x200;
    aer.correctableMask = 0x400;
    expect([aer.uncorrectableMask, aer.uncorrectableSeverity, aer.correctableMask]).toEqual([
      0x100, 0x200, 0x400,
    ]);
  });

  it('ATS, PRI, PASID, ACS', () => {
    const ats = extended(0x0f, [0x80000020]).ats!;
    expect([ats.enabled, ats.invalidateQueueDepth]).toEqual([true, 32]);
    const pri = extended(0x13, [1, 64]).pri!;
    expect([pri.enabled, pri.capacity]).toEqual([true, 64]);
    const pasid = extended(0x1b, [0x00011406]).pasid!;
    expect([pasid.enabled, pasid.width, pasid.executePermission, pasid.privilegedMode]).toEqual([
      true,
      20,
      true,
      true,
    ]);
    const acs = extended(0x0d, [0x001d005f]).acs!;
    expect([acs.supported, acs.enabled]).toEqual([0x5f, 0x1d]);
  });

  it('SR-IOV', () => {
    const sriov = extended(0x10, [0, 1, 0x00080004, 2, 0x00020080, 0x154c0000]).sriov!;
    expect([sriov.enabled, sriov.initialVfs, sriov.totalVfs, sriov.numVfs]).toEqual([true, 4, 8, 2]);
    expect([sriov.vfOffset, sriov.vfStride, sriov.vfDeviceId]).toEqual([0x80, 2, 0x154c]);
  });
});

describe('the status register', () => {
  it('is cleared bit by bit', () => {
    const config = space({});
    config.clearStatus(PCI_STATUS.receivedMasterAbort);
    expect(config.read16(0x06)).toBe(PCI_STATUS.receivedMasterAbort); // written, for the device to clear
  });
});

describe('a capability that the end of the space cuts off', () => {
  it('counts as absent', () => {
    for (const [id, name] of [
      [0x01, 'powerManagement'],
      [0x05, 'msi'],
      [0x10, 'express'],
      [0x11, 'msix'],
    ] as const) {
      for (const size of [256, 4096]) {
        expect(space({ 52: 0xfc, 252: id }, size)[name], name).toBeUndefined();
      }
    }
    for (const [id, name] of [
      [0x01, 'aer'],
      [0x03, 'serialNumber'],
      [0x0d, 'acs'],
      [0x0f, 'ats'],
      [0x10, 'sriov'],
      [0x13, 'pri'],
      [0x1b, 'pasid'],
    ] as const) {
      const config = space({ 256: ((0xffc << 20) | 0x1000b) >>> 0, 4092: 0x10000 | id });
      expect(config[name], name).toBeUndefined();
    }
    expect(space({ 52: 0xfc, 252: 0x050009 }).vendorSpecific).toEqual([]);
    expect(space({ 52: 0xfc, 252: 0x040009 }).vendorSpecific).toHaveLength(1);
  });

  it('is read as far as it is there, when that is a whole version of it', () => {
    const { express } = space({ 52: 0xe0, 224: 0x00020010 }, 256);
    expect([express!.version, express!.deviceStatus, express!.linkStatus.speed]).toEqual([2, 0, 0]);
    expect([express!.completionTimeout, express!.completionTimeoutDisabled]).toEqual([undefined, false]);
    expect(express!.completionTimeoutRanges).toBe(0);
  });
});
