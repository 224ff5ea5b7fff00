/** What a u-dma-buf's files say, and what is written to them, on a tree that stands for /sys and /dev. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DmaError } from '../../lib/errors.ts';
import { IoctlSync, SysfsSync } from '../../lib/memory/u-dma-buf-sync.ts';
import { cacheLineSize, readUDmaBuf } from '../../lib/memory/u-dma-buf-sysfs.ts';
import { type Attributes, plant } from '../conformance/u-dma-buf-fixture.ts';
import { expectCode } from './sim-fixture.ts';

const NAME = 'udmabuf0';
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'userdma-u-dma-buf-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function refusal(name = NAME): DmaError {
  try {
    readUDmaBuf(name, root);
  } catch (error) {
    expect(error).toBeInstanceOf(DmaError);
    return error as DmaError;
  }
  return expect.unreachable('nothing was refused');
}

/** The buffer is bound to a PCI function; `type` is that of its IOMMU group, none when there is no such file. */
function bind(type: string | undefined): void {
  const device = join(root, 'sys/devices/pci0000:00/0000:00:11.0');
  const groups = join(root, 'sys/kernel/iommu_groups');
  mkdirSync(device, { recursive: true });
  mkdirSync(join(groups, '6'), { recursive: true });
  symlinkSync('../../../kernel/iommu_groups/6', join(device, 'iommu_group'));
  symlinkSync('../../../devices/pci0000:00/0000:00:11.0', join(plant(root, NAME), 'device'));
  if (type !== undefined) writeFileSync(join(groups, '6/type'), `${type}\n`);
}

describe('the attributes of a u-dma-buf', () => {
  it('are numbers, in hexadecimal or decimal', () => {
    const folder = plant(root, NAME, {
      phys_addr: '0x0000000123400000',
      size: '0x200000',
      sync_mode: '0x5',
      dma_coherent: '0',
      ioctl_version: '2',
    });
    expect(readUDmaBuf(NAME, root)).toEqual({
      name: NAME,
      folder,
      node: join(root, 'dev', NAME),
      address: 0x1_2340_0000,
      size: 2 ** 21,
      syncMode: 5,
      coherent: false,
      ioctlVersion: 2,
    });
    plant(root, NAME, { phys_addr: '41943040', size: '1048576' });
    expect(readUDmaBuf(NAME, root)).toMatchObject({ address: 0x280_0000, size: 2 ** 20 });
  });

  it('are found under the name that the class had in old versions of the module, too', () => {
    const folder = plant(root, 'image-buffer', { ioctl_version: undefined }, 'udmabuf');
    expect(readUDmaBuf('image-buffer', root)).toMatchObject({ folder, ioctlVersion: 0 });
  });

  it('are believed to be those of the processor where the module does not tell', () => {
    plant(root, NAME, { dma_coherent: undefined });
    expect(readUDmaBuf(NAME, root).coherent).toBe(process.arch === 'x64');
  });

  const malformed: readonly Attributes[] = [
    { phys_addr: undefined },
    { phys_addr: '' },
    { phys_addr: '28ff000' },
    { phys_addr: '-4096' },
    { phys_addr: '0x' },
    { phys_addr: '0x40000000000000' },
    { phys_addr: '1e6' },
    { size: undefined },
    { size: '1 MiB' },
    { size: '1.5' },
    { sync_mode: '8' },
    { dma_coherent: '2' },
    { ioctl_version: 'two' },
  ];
  for (const attributes of malformed) {
    const [[name, text]] = Object.entries(attributes) as [[string, string | undefined]];
    it(`are refused when ${name} is ${JSON.stringify(text) ?? 'absent'}`, () => {
      plant(root, NAME);
      rmSync(join(root, 'sys/class/u-dma-buf', NAME, name), { force: true });
      plant(root, NAME, attributes);
      const { code, message } = refusal();
      expect(code).toBe('EIO');
      expect(message).toContain(`/${name} ${text === undefined ? 'cannot be read' : 'holds'}`);
      expect(message).toMatch(/; check that the module u-dma-buf made it/);
    });
  }
});

describe('a u-dma-buf that is not there', () => {
  it('because its module is not loaded: says how to load it', () => {
    expect(refusal()).toMatchObject({ code: 'ENODEV' });
    expect(refusal().message).toMatch(/module is not loaded; .*`modprobe u-dma-buf udmabuf0=BYTES`/);
  });

  it('because its name is another: says which there are', () => {
    plant(root, 'udmabuf1');
    plant(root, 'old', {}, 'udmabuf');
    expect(refusal().message).toMatch(/no u-dma-buf udmabuf0; there is udmabuf1, old; `modprobe/);
  });

  it("is not the kernel's own udmabuf", () => {
    expect(refusal('udmabuf').message).toMatch(
      /\/dev\/udmabuf is the kernel's own driver, a different thing/,
    );
  });

  for (const bad of ['', '.', '..', '../mem', '/dev/mem', 'a b', 'udmabuf0\n', 'a\0', 7, null, {}]) {
    it(`because it is no name: ${JSON.stringify(bad)}`, () => {
      plant(root, NAME);
      expect(refusal(bad as string)).toMatchObject({ code: 'EINVAL' });
    });
  }
});

describe('a u-dma-buf behind an IOMMU', () => {
  for (const type of ['DMA', 'DMA-FQ', 'blocked', undefined]) {
    it(`of type ${type ?? 'unknown'} is refused: the kernel would crash`, () => {
      bind(type);
      const { code, message } = refusal();
      expect(code).toBe('EOPNOTSUPP');
      expect(message).toMatch(/bound to 0000:00:11\.0, .* \(group 6, type .*\): the kernel crashes/);
      expect(message).toMatch(/; open 0000:00:11\.0 through VFIO, .* or boot with iommu=pt/);
    });
  }

  it('that translates nothing is taken', () => {
    bind('identity');
    expect(readUDmaBuf(NAME, root).name).toBe(NAME);
  });
});

describe('syncs through files', () => {
  const FILES = ['sync_offset', 'sync_size', 'sync_direction', 'sync_for_cpu', 'sync_for_device'];

  /** What was written, without what is left of longer text before it. */
  function written(folder: string): Record<string, string> {
    const read = (name: string) => readFileSync(join(folder, name), 'utf8').split('\n', 1)[0]!;
    return Object.fromEntries(FILES.map((name) => [name, read(name)]));
  }

  it('write offset, size and direction whole, and then a plain 1', () => {
    const folder = plant(root, NAME);
    const channel = new SysfsSync(folder);
    channel.sync(2 ** 40 + 3, 7, 'from-device', 'cpu');
    const common = { sync_offset: '1099511627779', sync_size: '7' };
    expect(written(folder)).toEqual({
      ...common,
      sync_direction: '2',
      sync_for_cpu: '1',
      sync_for_device: '0',
    });
    channel.sync(2 ** 40 + 3, 7, 'to-device', 'device');
    expect(written(folder)).toEqual({
      ...common,
      sync_direction: '1',
      sync_for_cpu: '1',
      sync_for_device: '1',
    });
    channel.sync(0, 2 ** 32, 'bidirectional', 'device');
    expect(written(folder)).toMatchObject({ sync_size: '4294967296', sync_direction: '0' });
    channel.close();
  });

  it('say so when a file is missing, and when the kernel refuses', () => {
    const folder = plant(root, NAME);
    const channel = new SysfsSync(folder);
    channel.close();
    expect(() => channel.sync(0, 1, 'to-device', 'cpu')).toThrow(DmaError);
    rmSync(join(folder, 'sync_direction'));
    expectCode('EIO', () => new SysfsSync(folder));
    expect(() => new SysfsSync(folder)).toThrow(/lacks a file that syncs need; check that the module/);
  });
});

describe('syncs through the node', () => {
  it('pass the range whole and the number of the direction, which is never 3', () => {
    const calls: unknown[][] = [];
    const native = { uDmaBufSync: (...args: unknown[]) => calls.push(args) && 0 };
    const channel = new IoctlSync(native, 42);
    channel.sync(2 ** 40, 2 ** 33 + 1, 'bidirectional', 'device');
    channel.sync(1, 2, 'to-device', 'cpu');
    channel.sync(3, 4, 'from-device', 'cpu');
    expect(calls).toEqual([
      [42, 2 ** 40, 2 ** 33 + 1, 0, true],
      [42, 1, 2, 1, false],
      [42, 3, 4, 2, false],
    ]);
  });

  it('say what the module refused', () => {
    const channel = new IoctlSync({ uDmaBufSync: () => -22 }, 42);
    expect(() => channel.sync(8, 9, 'to-device', 'cpu')).toThrow(
      expect.objectContaining({ code: 'EINVAL', syscall: 'U_DMA_BUF_IOCTL_SET_SYNC' }),
    );
    expect(() => channel.sync(8, 9, 'to-device', 'cpu')).toThrow(/sync 9 bytes at offset 8/);
  });
});

describe('the cache line', () => {
  function line(index: string, text: string): void {
    const folder = join(root, 'sys/devices/system/cpu/cpu0/cache', index);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'coherency_line_size'), text);
  }

  it('is the longest of the machine, and a known one where it does not tell', () => {
    expect(cacheLineSize(root)).toBe(process.arch === 'arm64' ? 128 : 64);
    line('index0', '32\n');
    expect(cacheLineSize(root)).toBe(32);
    line('index2', '256\n');
    line('index3', 'long\n');
    expect(cacheLineSize(root)).toBe(256);
  });
});
