/** Which functions bind does not take, from trees of files; the taking itself is tested in the virtual machine. */
import { mkdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bindPci, unbindPci } from '../../lib/pci/bind.ts';
import { usesOf } from '../../lib/pci/use.ts';
import { Tree } from './tree.ts';

const NVME = '0000:00:05.0';
let tree: Tree;

beforeEach(() => {
  tree = new Tree();
});
afterEach(() => tree.remove());

/** A disk of the function, by the path that a real one has. */
function disk(
  name: string,
  number: string,
  folder = `/sys/devices/pci0000:00/${NVME}/nvme/nvme0/${name}`,
): void {
  tree.file(`${folder}/dev`, `${number}\n`);
  tree.link(`/sys/class/block/${name}`, tree.root + folder);
}

const uses = () => usesOf(NVME, tree.root);

describe.skipIf(process.platform === 'win32')('what a machine uses', () => {
  it('a mounted disk, or partition of one', () => {
    disk('nvme0n1', '259:0');
    disk('nvme0n1p1', '259:1', `/sys/devices/pci0000:00/${NVME}/nvme/nvme0/nvme0n1/nvme0n1p1`);
    expect(uses()).toEqual([]);
    tree.file('/proc/self/mountinfo', '29 1 259:1 / /data rw - ext4 /dev/nvme0n1p1 rw\n');
    expect(uses()).toEqual(['its disk nvme0n1p1 is mounted at /data']);
  });

  it('a file system with a number of its own, by the name of its disk', () => {
    disk('nvme0n1', '259:0');
    tree.file('/proc/self/mountinfo', '29 1 0:50 / /data rw shared:1 - btrfs /dev/nvme0n1 rw\n');
    expect(uses()).toEqual(['its disk nvme0n1 is mounted at /data']);
  });

  it('what is made of a disk: a logical volume that is mounted', () => {
    disk('nvme0n1', '259:0');
    tree.file(`/sys/devices/pci0000:00/${NVME}/nvme/nvme0/nvme0n1/holders/dm-0`);
    disk('dm-0', '253:0', '/sys/devices/virtual/block/dm-0');
    tree.file('/proc/self/mountinfo', '29 1 253:0 / / rw - ext4 /dev/mapper/root rw\n');
    expect(uses()).toEqual(['its disk dm-0 is mounted at /']);
  });

  it('the disk of an NVMe subsystem with several paths', () => {
    tree.file(`/sys/bus/pci/devices/${NVME}/nvme/nvme3/uevent`);
    tree.file('/sys/class/nvme-subsystem/nvme-subsys0/nvme3');
    disk('nvme0n1', '259:0', '/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1');
    tree.file('/proc/swaps', 'Filename Type Size Used Priority\n/dev/nvme0n1 partition 1 0 -2\n');
    expect(uses()).toEqual(['its disk nvme0n1 is swapped on']);
  });

  it('the only interface with a default route, but not one of two', () => {
    tree.file(`/sys/bus/pci/devices/${NVME}/net/eth0/uevent`);
    const route = (name: string) => `${name}\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n`;
    tree.file('/proc/net/route', `Iface\tDestination\n${route('eth0')}`);
    expect(uses()).toEqual([
      'the only default route of this machine goes through its network interface eth0',
    ]);
    tree.file('/proc/net/route', `Iface\tDestination\n${route('eth0')}${route('eth1')}`);
    expect(uses()).toEqual([]);
  });

  it('a display with something on it', () => {
    tree.file(`/sys/bus/pci/devices/${NVME}/drm/card0/card0-HDMI-A-1/enabled`, 'enabled\n');
    expect(uses()).toEqual(['its display card0-HDMI-A-1 is in use']);
  });
});

describe.skipIf(process.platform === 'win32')('bind', () => {
  beforeEach(() => {
    tree.pci(NVME, { driver: 'nvme', group: 3 });
    tree.file('/sys/bus/pci/drivers_probe');
    mkdirSync(`${tree.root}/sys/bus/pci/drivers/vfio-pci`);
  });

  it('refuses what this machine uses, and has changed nothing', () => {
    disk('nvme0n1', '259:0');
    tree.file('/proc/self/mountinfo', '29 1 259:0 / /data rw - ext4 /dev/nvme0n1 rw\n');
    expect(() => bindPci(NVME, { root: tree.root })).toThrow(
      /EBUSY|in use: its disk nvme0n1 is mounted at \/data/,
    );
    expect(readFileSync(`${tree.root}/sys/bus/pci/drivers_probe`, 'utf8')).toBe('');
  });

  it('gives back what its driver did not take', () => {
    tree.file(`/sys/bus/pci/drivers/nvme/unbind`);
    expect(() => bindPci(NVME, { root: tree.root })).toThrow(
      /vfio-pci did not take .*; it is back with nvme/,
    );
    const override = readFileSync(`${tree.root}/sys/bus/pci/devices/${NVME}/driver_override`, 'utf8');
    expect(override).toBe('\n');
  });

  it('says what there is not: function, driver, user', () => {
    const { root } = tree;
    expect(() => bindPci('0000:00:06.0', { root })).toThrow(
      /no PCI function at .*did you mean 0000:00:05\.0/,
    );
    expect(() => bindPci(NVME, { root, driver: 'no_such_driver' })).toThrow(/no driver no_such_driver/);
    expect(() => bindPci(NVME, { root, driver: '../x' })).toThrow(/is not the name of a driver/);
    expect(() => bindPci(NVME, { root, user: 'nobody-has-this-name' })).toThrow(/no user/);
  });

  it('unbind leaves a function that nobody took', () => {
    expect(() => unbindPci(NVME, { root: tree.root })).toThrow(/bound to nvme, a driver of the kernel/);
  });
});
