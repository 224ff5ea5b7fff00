/** A PCI function through the files of /sys, from a recorded tree: what may be opened, and what its files then hold. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigFile } from '../../lib/config-file.ts';
import type { DmaError } from '../../lib/errors.ts';
import { dmaBitMask, findPci, openPciUnsafe, type PciFunction } from '../../lib/index.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { readFacts } from '../../lib/pci/facts.ts';
import { obstacle } from '../../lib/pci/unsafe/obstacles.ts';
import { readResources } from '../../lib/pci/unsafe/resources.ts';
import { PC_MEMORY, SimulatedPhysicalMemory } from '../../lib/sim/physical-memory.ts';
import { errorOf } from '../failures.ts';
import { describeNative } from '../native/support.ts';

const EDU = '0000:00:10.0';
const device = `/sys/bus/pci/devices/${EDU}`;
const NONE = '0x0000000000000000 0x0000000000000000 0x0000000000000000';
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'userdma-pci-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function file(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(root + path), { recursive: true });
  writeFileSync(root + path, content);
}

function link(path: string, to: string): void {
  mkdirSync(dirname(root + path), { recursive: true });
  symlinkSync(to, root + path);
}

function resources(...lines: string[]): void {
  const all = Array.from({ length: 13 }, (_, index) => lines[index] ?? NONE);
  file(`${device}/resource`, `${all.join('\n')}\n`);
}

describe('what stands in the way', () => {
  const found = (): DmaError | undefined => obstacle(readFacts(EDU, root), root);

  it('is nothing for a function without driver and IOMMU, or with the generic one', () => {
    file(`${device}/vendor`, '0x1234');
    expect(found()).toBeUndefined();
    link(`${device}/driver`, '../../../../bus/pci/drivers/uio_pci_generic');
    expect(found()).toBeUndefined();
  });

  it('is that it is not there', () => {
    file('/sys/bus/pci/devices/0000:00:11.0/vendor', '');
    expect(found()).toMatchObject({ code: 'ENODEV' });
    expect(found()?.message).toContain('did you mean 0000:00:11.0?');
  });

  for (const driver of ['nvme', 'vfio-pci', 'uio_pci_generic_not']) {
    it(`is the driver ${driver}, by name, with the commands that let it go`, () => {
      link(`${device}/driver`, `../../../../bus/pci/drivers/${driver}`);
      expect(found()?.code).toBe('EBUSY');
      expect(found()?.message).toMatch(
        new RegExp(`driver ${driver}; .*${device}/driver/unbind.*modprobe uio_pci_generic`),
      );
    });
  }

  for (const type of ['DMA', 'DMA-FQ', 'blocked', 'unknown']) {
    it(`is an IOMMU whose domain is of type ${type}`, () => {
      file(`${device}/iommu_group/type`, `${type}\n`);
      expect(found()?.code).toBe('EPERM');
      expect(found()?.message).toMatch(new RegExp(`translates .*type ${type}\\b.*use openPci`));
    });
  }

  it('is an IOMMU that does not say how it translates', () => {
    mkdirSync(`${root}${device}/iommu_group`, { recursive: true });
    expect(found()?.code).toBe('EPERM');
  });

  it('is no IOMMU that passes addresses through', () => {
    file(`${device}/iommu_group/type`, 'identity\n');
    expect(found()).toBeUndefined();
  });
});

describe('functions with some ids', () => {
  it('are found in order, past one that goes meanwhile', () => {
    for (const address of ['0000:00:11.0', EDU]) {
      file(`/sys/bus/pci/devices/${address}/vendor`, '0x1234\n');
      file(`/sys/bus/pci/devices/${address}/device`, '0x11e8\n');
    }
    file('/sys/bus/pci/devices/0000:00:12.0/vendor', '0x1234\n'); // its other files are gone already
    mkdirSync(`${root}/sys/bus/pci/devices/0000:00:13.0`);
    expect(findPci(0x1234, 0x11e8, root)).toEqual([EDU, '0000:00:11.0']);
    expect(findPci(0x1234, 0, root)).toEqual([]);
    expect(findPci(0, 0, root)).toEqual([]);
  });
});

describe('resources', () => {
  const bars = () => readResources(root + device);

  it('are BARs with their kind, size and place', () => {
    resources(
      '0x00000000fea00000 0x00000000feafffff 0x0000000000040200',
      '0x000000000000c040 0x000000000000c05f 0x0000000000040101',
      '0x0000008000000000 0x000000800fffffff 0x000000000014220c',
    );
    expect(bars().map((bar) => bar?.info)).toEqual([
      { index: 0, size: 0x10_0000, kind: 'memory', is64Bit: false, prefetchable: false },
      { index: 1, size: 32, kind: 'io', is64Bit: false, prefetchable: false },
      { index: 2, size: 2 ** 28, kind: 'memory', is64Bit: true, prefetchable: true },
      undefined,
      undefined,
      undefined,
    ]);
    expect(bars()[2]?.start).toBe(0x80_0000_0000n);
  });

  for (const bad of [
    '',
    'fea00000 feafffff 200',
    '0x0000000000001000 0x0000000000000fff 0x0000000000000200',
    '0x0000000000000000 0xffffffffffffffff 0x0000000000000200',
    '0x0000000000001000 0x0000000000001fff 0x0000000000000000',
    '0x0000000000001000 0x0000000000001fff',
    '0x0000000000000000 0x0000000000000fff 0x0000000020040200',
  ]) {
    it(`are refused with the line ${JSON.stringify(bad)}`, () => {
      resources(NONE, bad);
      expect(errorOf(bars)).toMatchObject({ code: 'EIO' });
      expect(errorOf(bars).message).toContain('at BAR 1');
    });
  }

  it('are refused when the kernel shows none', () => {
    expect(errorOf(bars).code).toBe('EIO');
  });
});

describe('configuration space', () => {
  it('is read and written at each width', () => {
    file(
      `${device}/config`,
      Uint8Array.from({ length: 4096 }, (_, i) => i & 0xff),
    );
    const config = new ConfigFile(`${root}${device}/config`);
    expect(config.size).toBe(4096);
    expect([config.read(0x10, 1), config.read(0x10, 2), config.read(0xffc, 4)]).toEqual([
      0x10, 0x1110, 0xfffefdfc,
    ]);
    config.write(0x10, 1, 0xff);
    config.write(0x12, 2, 0xabcd);
    config.write(0x14, 4, 0x8765_4321);
    config.close();
    config.close();
    const bytes = readFileSync(`${root}${device}/config`);
    expect([bytes.readUInt32LE(0x10), bytes.readUInt32LE(0x14)]).toEqual([0xabcd_11ff, 0x8765_4321]);
    expect(errorOf(() => config.read(0, 4)).code).toBe('ENODEV');
  });

  it('is not all there for everybody', () => {
    file(`${device}/config`, new Uint8Array(64));
    const config = new ConfigFile(`${root}${device}/config`);
    expect(errorOf(() => config.read(0x40, 1)).message).toContain('CAP_SYS_ADMIN');
    config.close();
    file(`${device}/config`, '');
    const gone = new ConfigFile(`${root}${device}/config`);
    expect(errorOf(() => gone.read(0, 4))).toMatchObject({ code: 'ENODEV' });
    gone.close();
    expect(errorOf(() => new ConfigFile(`${root}${device}/nothing`)).code).toBe('ENODEV');
  });
});

describeNative('a function through /sys', (addon) => {
  const page = addon.pageSize();
  let memory: SimulatedPhysicalMemory;

  beforeEach(() => {
    const config = Buffer.alloc(256);
    config.writeUInt32LE(0x11e8_1234);
    config.writeUInt16LE(0x0404, 4); // somebody has left it bus master, and its registers off
    file(`${device}/config`, config);
    file(`${device}/enable`, '0');
    resources(
      '0x00000000fea00000 0x00000000fea00fff 0x0000000000040200',
      '0x000000000000c040 0x000000000000c05f 0x0000000000040101',
      '0x00000000fea01100 0x00000000fea0117f 0x0000000000040200',
    );
    file(`${device}/resource0`, new Uint8Array(page));
    file(`${device}/resource1`, new Uint8Array(32));
    file(`${device}/resource2`, new Uint8Array(page));
    const addressSpace = new SimulatedAddressSpace({ ranges: PC_MEMORY, mappingLimit: 10 });
    memory = new SimulatedPhysicalMemory({ heap: new HeapMemory(), addressSpace });
  });

  const open = (): Promise<PciFunction> => openPciUnsafe(EDU, { memory, root });
  const text = (name: string): string => readFileSync(`${root}${device}/${name}`, 'latin1');
  const bytes = (name: string): Buffer => readFileSync(`${root}${device}/${name}`);

  it('is enabled and quiet while open, and disabled after', async () => {
    const fn = await open();
    expect([text('enable'), fn.busMaster, fn.transport]).toEqual(['1', false, 'sysfs']);
    expect([fn.config.vendorId, fn.config.deviceId]).toEqual([0x1234, 0x11e8]);
    fn.setMaster();
    expect(bytes('config').readUInt16LE(4)).toBe(0x0407);
    const ring = fn.dma.allocCoherent(64);
    fn.dma.setMask(dmaBitMask(28));
    fn.close();
    expect([text('enable'), bytes('config').readUInt16LE(4), ring.bytes.length]).toEqual(['0', 0x0403, 0]);
  });

  it('that was given memory and may not use it tells so when it is closed', async () => {
    const fn = await openPciUnsafe(EDU, { memory, root, debug: { print: false } });
    fn.dma.allocCoherent(64).free();
    fn.close();
    const [report, ...others] = fn.dma.debug!.reports;
    expect(report).toMatchObject({ kind: 'no-bus-master', message: expect.stringContaining('setMaster()') });
    expect(others).toEqual([]);
  });

  it.each([
    ['setMaster', (fn: PciFunction) => fn.setMaster()],
    ['a write of configuration space', (fn: PciFunction) => fn.config.write16(4, fn.config.command | 4)],
  ])('that was master for a while, by %s, is not told of', async (_how, start) => {
    const fn = await openPciUnsafe(EDU, { memory, root, debug: { print: false } });
    fn.dma.allocCoherent(64).free();
    start(fn);
    fn.clearMaster();
    fn.close();
    expect(fn.dma.debug!.reports).toEqual([]);
  });

  it('that is gone when it is closed is not told of', async () => {
    const fn = await openPciUnsafe(EDU, { memory, root, debug: { print: false } });
    fn.dma.allocCoherent(64).free();
    file(`${device}/config`, new Uint8Array(256).fill(0xff));
    expect(fn.isPresent()).toBe(false);
    fn.close();
    expect(fn.dma.debug!.reports).toEqual([]);
  });

  it('that was given no memory needs not be master', async () => {
    const fn = await openPciUnsafe(EDU, { memory, root, debug: { print: false } });
    fn.bar(0).read32(0);
    fn.close();
    expect(fn.dma.debug!.reports).toEqual([]);
  });

  it('has BARs: whole, of ports, and smaller than a page', async () => {
    using fn = await open();
    fn.bar(0).write32(page - 4, 0x0102_0304);
    expect(bytes('resource0').readUInt32LE(page - 4)).toBe(0x0102_0304);
    expect([fn.bar(1).info.kind, fn.bar(1).size, fn.bar(1).window]).toEqual(['io', 32, undefined]);
    fn.bar(1).write16(30, 0xabcd);
    expect([bytes('resource1').readUInt16LE(30), fn.bar(1).read16(30)]).toEqual([0xabcd, 0xabcd]);
    fn.bar(2).write8(0x7f, 9);
    expect([bytes('resource2')[0x17f], errorOf(() => fn.bar(2).read8(0x80)).code]).toEqual([9, 'EINVAL']);
    expect(errorOf(() => fn.bar(0).read64(page)).message).toContain('of BAR 0 is outside');
    expect(errorOf(() => fn.bar(3)).message).toContain('it has BAR 0, 1, 2');
  });

  it('has no interrupt and no reset of its own', async () => {
    using fn = await open();
    expect(errorOf(() => fn.interrupts.intx()).code).toBe('EINVAL');
    expect(errorOf(() => fn.reset()).code).toBe('EOPNOTSUPP');
    file(`${device}/reset`, '');
    fn.reset();
    expect(text('reset')).toBe('1');
  });

  it('is gone when it is asked and the kernel knows no more of it', async () => {
    using fn = await open();
    expect(fn.isPresent()).toBe(true);
    file(`${device}/config`, '');
    expect(fn.isPresent()).toBe(false);
    expect(fn.gone.reason).toMatchObject({ code: 'ENODEV' });
    expect(errorOf(() => fn.dma.allocCoherent(64))).toBe(fn.gone.reason);
  });

  it('is said to be gone, not to lack a reset, when its folder has gone', async () => {
    using fn = await open();
    rmSync(root + device, { recursive: true });
    expect(errorOf(() => fn.reset())).toMatchObject({ code: 'ENODEV' });
  });

  it('is left as it was when it cannot be opened, and the memory with its owner', async () => {
    rmSync(`${root}${device}/resource2`);
    await expect(open()).rejects.toMatchObject({ code: 'ENODEV', syscall: 'mmap' });
    expect(text('enable')).toBe('0');
    expect(memory.allocate(1).byteLength).toBe(1);
    file(`${device}/resource2`, new Uint8Array(page));
    rmSync(`${root}${device}/enable`);
    await expect(open()).rejects.toMatchObject({ code: 'ENODEV', syscall: 'write' });
    await expect(openPciUnsafe('0000:00:11.0', { memory, root })).rejects.toMatchObject({ code: 'ENODEV' });
    await expect(openPciUnsafe('edu', { memory, root })).rejects.toMatchObject({ code: 'EINVAL' });
  });
});
