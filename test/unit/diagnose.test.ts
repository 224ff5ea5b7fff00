/** Every reason a function cannot be opened, from a recorded /sys tree: one error each, and it names the fix. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DmaError } from '../../lib/errors.ts';
import { parseAddress } from '../../lib/pci/address.ts';
import { holders, isVfioDriver, readFacts } from '../../lib/pci/facts.ts';
import { bridgeRanges } from '../../lib/pci/vfio/bridge-ranges.ts';
import { bindCommands, diagnose, openError } from '../../lib/pci/vfio/diagnose.ts';

const EDU = '0000:00:10.0';
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'userdma-sysfs-'));
  file('/dev/vfio/vfio', '');
});
afterEach(() => rmSync(root, { recursive: true }));

function file(path: string, text: string): void {
  mkdirSync(dirname(root + path), { recursive: true });
  writeFileSync(root + path, text);
}

function link(path: string, to: string): void {
  mkdirSync(dirname(root + path), { recursive: true });
  symlinkSync(to, root + path);
}

function pci(address: string, { driver, group }: { driver?: string; group?: number }): void {
  const device = `/sys/bus/pci/devices/${address}`;
  mkdirSync(root + device, { recursive: true });
  if (driver !== undefined) link(`${device}/driver`, `../../../bus/pci/drivers/${driver}`);
  if (group === undefined) return;
  link(`${device}/iommu_group`, `../../../kernel/iommu_groups/${group}`);
  file(`/sys/kernel/iommu_groups/${group}/devices/${address}`, '');
}

function diagnosis(address = EDU): DmaError | undefined {
  return diagnose(readFacts(address, root));
}

describe('a PCI address', () => {
  it('is taken with and without its domain, in either case', () => {
    expect(parseAddress('0000:00:1F.7')).toBe('0000:00:1f.7');
    expect(parseAddress('01:00.0')).toBe('0000:01:00.0');
    expect(parseAddress('10000:e1:00.0')).toBe('10000:e1:00.0');
    expect(parseAddress('00000000:00:02.0')).toBe('0000:00:02.0');
    expect(parseAddress('00010000:e1:00.0')).toBe('10000:e1:00.0');
  });

  for (const bad of [
    '',
    'edu',
    '0000:00:20.0',
    '0000:00:10.8',
    '0000:00:10',
    '../0000:00:10.0',
    '0000:00:10.0\n1',
    7,
    null,
  ]) {
    it(`${JSON.stringify(bad)} is EINVAL`, () => {
      expect(() => readFacts(bad as string, root)).toThrow(
        expect.objectContaining({
          code: 'EINVAL',
          message: expect.stringContaining('domain:bus:device.function'),
        }),
      );
    });
  }
});

describe('diagnosis before opening', () => {
  it('is silent when all is well', () => {
    pci(EDU, { driver: 'vfio-pci', group: 5 });
    expect(diagnosis()).toBeUndefined();
  });

  it('names what a mistyped address may have meant', () => {
    pci(EDU, { driver: 'vfio-pci', group: 5 });
    pci('0000:00:1f.2', { driver: 'ahci', group: 6 });
    expect(diagnosis('0000:00:11.0')).toMatchObject({
      code: 'ENODEV',
      message: expect.stringContaining(EDU),
    });
    expect(diagnosis('0000:00:11.0')?.message).not.toContain('1f.2');
    expect(diagnosis('0000:00:0f.2')?.message).toContain('00:1f.2');
  });

  it('says what lists the functions when nothing is similar', () => {
    pci('0000:7f:1f.7', {});
    expect(diagnosis()).toMatchObject({ code: 'ENODEV', message: expect.stringContaining('userdma list') });
  });

  it('says that there is no /sys', () => {
    expect(diagnosis()).toMatchObject({
      code: 'ENODEV',
      message: expect.stringMatching(/\/sys shows no PCI bus; /),
    });
  });

  it('says how to switch the IOMMU on', () => {
    pci(EDU, {});
    expect(diagnosis()).toMatchObject({ code: 'ENODEV', message: expect.stringContaining('intel_iommu=on') });
  });

  it('does not blame the kernel command line when another function has a group', () => {
    pci(EDU, {});
    pci('0000:00:02.0', { group: 1 });
    expect(diagnosis()).toMatchObject({
      code: 'ENODEV',
      message: expect.not.stringContaining('intel_iommu'),
    });
  });

  it('gives the commands that take it from another driver', () => {
    pci(EDU, { driver: 'nvme', group: 5 });
    const error = diagnosis();
    expect(error).toMatchObject({ code: 'EBUSY', errno: -16 });
    expect(error?.message).toContain('bound to the driver nvme');
    expect(error?.message).toContain(`echo ${EDU} > /sys/bus/pci/devices/${EDU}/driver/unbind`);
    expect(error?.message).toContain(`echo vfio-pci > /sys/bus/pci/devices/${EDU}/driver_override`);
  });

  it('gives the commands that bind a function nobody drives', () => {
    pci(EDU, { group: 5 });
    const error = diagnosis();
    expect(error).toMatchObject({ code: 'ENODEV', message: expect.stringContaining('bound to no driver') });
    expect(error?.message).toContain(bindCommands(EDU, undefined));
    expect(error?.message).not.toContain('unbind');
  });

  it('misses the vfio module', () => {
    rmSync(join(root, 'dev'), { recursive: true });
    pci(EDU, { driver: 'vfio-pci', group: 5 });
    expect(diagnosis()).toMatchObject({
      code: 'ENODEV',
      message: expect.stringContaining('modprobe vfio-pci'),
    });
  });

  it('names the neighbours that make the group not viable, and only those', () => {
    pci(EDU, { driver: 'vfio-pci', group: 5 });
    pci('0000:00:10.1', { driver: 'e1000e', group: 5 });
    pci('0000:00:10.2', { driver: 'pcieport', group: 5 });
    pci('0000:00:10.3', { group: 5 });
    pci('0000:00:10.4', { driver: 'mlx5-vfio-pci', group: 5 });
    const error = diagnosis();
    expect(error?.code).toBe('EPERM');
    expect(error?.message).toContain('0000:00:10.1 (e1000e)');
    expect(error?.message).toContain('> /sys/bus/pci/devices/0000:00:10.1/driver/unbind');
    for (const harmless of ['10.2', '10.3', '10.4']) expect(error?.message).not.toContain(harmless);
  });
});

describe('a step of opening that fails', () => {
  beforeEach(() => pci(EDU, { driver: 'vfio-pci', group: 5 }));

  it.each([
    ['open /dev/vfio/N', -13, 'EACCES', 'chown'],
    ['open /dev/vfio/N', -1, 'EACCES', '/dev/vfio/5'],
    ['open /dev/vfio/N', -2, 'ENODEV', '--device=/dev/vfio/5'],
    ['open /dev/vfio/N', -16, 'EBUSY', 'held by node (pid 42)'],
    ['open /dev/vfio/N', -24, 'EMFILE', 'ulimit -n'],
    ['open /dev/vfio/vfio', -13, 'EACCES', 'chmod 0666 /dev/vfio/vfio'],
    ['open /dev/vfio/vfio', -2, 'ENODEV', 'modprobe vfio-pci'],
    ['open /dev/vfio/vfio', -95, 'ENODEV', 'modprobe vfio_iommu_type1'],
    ['VFIO_GROUP_GET_STATUS', -1, 'EPERM', 'not viable'],
    ['VFIO_GROUP_SET_CONTAINER', -1, 'EPERM', 'not viable'],
    ['VFIO_SET_IOMMU', -1, 'EPERM', 'allow_unsafe_interrupts'],
    ['VFIO_SET_IOMMU', -19, 'ENODEV', 'modprobe vfio_iommu_type1'],
    ['VFIO_GROUP_GET_DEVICE_FD', -11, 'EAGAIN', 'try again'],
    ['VFIO_GROUP_GET_DEVICE_FD', -5, 'EIO', 'dmesg'],
  ] as const)('%s with errno %i is %s: %s', (step, errno, code, words) => {
    const error = openError(readFacts(EDU, root), step, errno, errno === -16 ? ['node (pid 42)'] : []);
    expect(error.code).toBe(code);
    expect(error.message).toContain(words);
    expect(error.syscall).toBe(step.replace('/N', '/5'));
  });

  it('names who holds the group, and says what to do when that is this process', () => {
    const busy = (held: string[]): string =>
      openError(readFacts(EDU, root), 'open /dev/vfio/N', -16, held).message;
    expect(busy(['node (pid 42)'])).toMatch(/held by node \(pid 42\); .*one opener/);
    expect(busy(['this process'])).toMatch(/held by this process; another thread has it, or .* gone/);
  });
});

describe('facts', () => {
  it('finds who holds a node', () => {
    link('/proc/42/fd/7', '/dev/vfio/5');
    file('/proc/42/comm', 'node\n');
    link('/proc/43/fd/7', '/dev/vfio/6');
    link(`/proc/${process.pid}/fd/3`, '/dev/vfio/6');
    expect(holders('/dev/vfio/5', root)).toEqual(['node (pid 42)']);
    expect(holders('/dev/vfio/6', root)).toContain('this process');
  });

  it('knows VFIO drivers by name', () => {
    expect(['vfio-pci', 'mlx5-vfio-pci', 'hisi_acc_vfio_pci', 'vfio_pci'].every(isVfioDriver)).toBe(true);
    expect([undefined, 'nvme', 'notvfio'].some(isVfioDriver)).toBe(false);
  });

  it('collects the memory windows of all functions, not their I/O ports or unused BARs', () => {
    file(
      `/sys/bus/pci/devices/${EDU}/resource`,
      '0x00000000fea00000 0x00000000feafffff 0x0000000000040200\n' +
        '0x000000000000c000 0x000000000000c03f 0x0000000000040101\n' +
        '0x0000000000000000 0x0000000000000000 0x0000000000000000\n' +
        '0x0000380000000000 0x0000380000003fff 0x0000000000140204\nrubbish\n',
    );
    file(
      '/sys/bus/pci/devices/0000:00:02.0/resource',
      '0x00000000c0000000 0x00000000c0000fff 0x0000000000040200\n',
    );
    file(
      '/sys/bus/pci/devices/0000:00:01.0/resource',
      '0x00000000000c0000 0x00000000000dffff 0x0000000000000212\n',
    );
    const windows = bridgeRanges(root).sort((a, b) => a.start - b.start);
    expect(windows).toEqual([
      { start: 0xc0000, end: 0xdffff },
      { start: 0xc0000000, end: 0xfeafffff },
      { start: 0x380000000000, end: 0x380000003fff },
    ]);
  });
});
