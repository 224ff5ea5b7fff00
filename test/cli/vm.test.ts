/** userdma vm: what the options make of a machine. That it boots is tested with the packed package. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkModules, keep, machineOf, type VmOptions } from '../../lib/cli/vm.ts';
import { qemuArguments } from '../../lib/vm/machine.ts';
import { errorOf } from '../failures.ts';

const PLAIN: VmOptions = {
  device: [],
  disk: [],
  module: [],
  bind: [],
  iommu: 'intel',
  memory: '1G',
  limit: '600',
};
const FILES = { kernel: 'k', initrd: 'i', share: '/s', console: '/s/c' };
const words = (options: Partial<VmOptions>) =>
  qemuArguments(machineOf({ ...PLAIN, ...options }), FILES, 'tcg', '7.2.22');

describe('the machine of userdma vm', () => {
  it('has the devices, each disk behind the device that names it', () => {
    const device = ['edu,addr=0x10', 'nvme,serial=1,drive=disk1', 'virtio-blk-pci,drive=disk0'];
    const all = words({ device, disk: ['a.img', '/b,c.img'], memory: '512M' }).join(' ');
    for (const text of device) expect(all).toContain(`-device ${text}`);
    expect(all).toContain(`-drive file=${resolve('a.img')},if=none,id=disk0,format=raw`);
    expect(all).toContain('-drive file=/b,,c.img,if=none,id=disk1,format=raw');
    expect(all).toContain('-m 512M');
    expect(all).toContain('intel-iommu');
  });

  it('loads VFIO and what is asked for, and binds by whole addresses', () => {
    const machine = machineOf({
      ...PLAIN,
      module: ['nvme poll_queues=1'],
      bind: ['00:10.0'],
      iommu: 'virtio',
    });
    expect(machine.modules.at(-1)).toBe('nvme poll_queues=1');
    expect(qemuArguments(machine, FILES, 'tcg', '7.2.22').join()).toContain('allow_unsafe_interrupts=1');
    expect(machine.bind).toEqual(['0000:00:10.0']);
  });

  it.each([
    ['a disk that is not there', { device: ['nvme,drive=disk0'] }, /there is no disk disk0/],
    ['a drive of another name', { device: ['nvme,drive=mine'], disk: ['a'] }, /there is no disk mine/],
    ['a disk without a device', { disk: ['a'] }, /no device has it; name it in a --device: drive=disk0/],
    ['an address that is none', { bind: ['edu'] }, /not a PCI address/],
  ])('%s is EINVAL', (_what, options, text) => {
    const error = errorOf(() => machineOf({ ...PLAIN, ...options }));
    expect([error.code, error.message]).toEqual(['EINVAL', expect.stringMatching(text)]);
  });
});

it('what the command wrote is kept, but for the files of the machine itself', () => {
  const work = mkdtempSync(join(tmpdir(), 'userdma-vm-keep-'));
  try {
    const share = join(work, 'share');
    mkdirSync(join(share, 'more'), { recursive: true });
    for (const name of [
      'config',
      'command.sh',
      'status',
      'console.log',
      'result',
      'more/status',
      'more/config',
    ]) {
      writeFileSync(join(share, name), name);
    }
    keep(share, join(work, 'out'));
    const kept = readdirSync(join(work, 'out'), { recursive: true }).map(String).sort();
    expect(kept).toEqual(['console.log', 'more', 'more/config', 'more/status', 'result']);
  } finally {
    rmSync(work, { recursive: true });
  }
});

it('a module that the kernel does not have is named, before anything starts', () => {
  const modules = mkdtempSync(join(tmpdir(), 'userdma-vm-modules-'));
  try {
    mkdirSync(join(modules, 'kernel'));
    writeFileSync(join(modules, 'kernel', 'vfio-pci.ko.xz'), '');
    writeFileSync(join(modules, 'modules.builtin'), 'kernel/fs/ext4/ext4.ko\n');
    const kernel = { version: '6.12', image: '/boot/vmlinuz', modules };
    checkModules(kernel, ['vfio_pci', 'vfio-pci', 'ext4']);
    const { code, message } = errorOf(() => checkModules(kernel, ['vfio-pci', 'nonsense', 'absent']));
    expect([code, message]).toEqual([
      'ENOSYS',
      expect.stringContaining('Linux 6.12 has no module nonsense, absent;'),
    ]);
  } finally {
    rmSync(modules, { recursive: true });
  }
});
