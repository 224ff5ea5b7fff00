/** An NVMe disk goes from vfio-pci to Linux, which mounts it, to vfio-pci, and back to Linux, which finds its files. */
import { execFileSync, spawn } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bindPci, unbindPci } from '../../../lib/pci/bind.ts';
import { afterAll, assert, describe, it } from '../../harness.ts';
import { userdma } from '../command-line.ts';
import { device, groupOf } from '../devices.ts';

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('bind and unbind of an NVMe disk', () => {
  const address = device('USERDMA_TEST_NVME_SECOND');
  const folder = `/sys/bus/pci/devices/${address}`;
  const rule = `/etc/udev/rules.d/10-userdma-${address}.rules`;
  const driver = () => readlinkSync(`${folder}/driver`).split('/').at(-1);

  afterAll(() => {
    if (driver() !== 'vfio-pci') bindPci(address, { force: true });
  });

  /** The disk's node, once Linux has found its namespace. */
  async function disk(): Promise<string> {
    for (let i = 0; i < 300; i++) {
      const controller = existsSync(`${folder}/nvme`) ? readdirSync(`${folder}/nvme`)[0] : undefined;
      const name =
        controller &&
        readdirSync(`${folder}/nvme/${controller}`).find((entry) => /^nvme\d+(c\d+)?n\d+$/.test(entry));
      const node = name && `/dev/${name.replace(/c\d+/, '')}`;
      if (node && existsSync(node)) return node;
      await sleep(100);
    }
    throw new Error('Linux shows no disk');
  }

  it('is refused while the disk is mounted, and keeps its files', async () => {
    assert.equal(driver(), 'vfio-pci');
    assert.equal(unbindPci(address).driver, 'nvme');
    execFileSync('mkfs.ext4', ['-q', '-F', await disk()]);
    const mount = mkdtempSync(join(tmpdir(), 'mount-'));
    execFileSync('mount', ['-t', 'ext4', await disk(), mount]);
    writeFileSync(join(mount, 'file'), 'kept');
    assert.throws(() => bindPci(address), { code: 'EBUSY', message: new RegExp(`mounted at ${mount}`) });
    assert.equal(driver(), 'nvme');
    execFileSync('umount', [mount]);

    assert.deepEqual(bindPci(address), { address, driver: 'vfio-pci', former: 'nvme' });
    assert.equal(driver(), 'vfio-pci');
    assert.deepEqual(unbindPci(address), { address, driver: 'nvme', former: 'vfio-pci' });
    execFileSync('mount', ['-t', 'ext4', await disk(), mount]);
    assert.equal(readFileSync(join(mount, 'file'), 'utf8'), 'kept');
    execFileSync('umount', [mount]);
  });

  it('the command does the same, and prints its undo', async () => {
    const bound = await userdma('bind', address, '--user', '1000');
    assert.deepEqual([bound.status, bound.stderr], [0, '']);
    assert.match(bound.stdout, new RegExp(`nvme -> vfio-pci\nundo: npx userdma unbind ${address}`));
    assert.equal(statSync(`/dev/vfio/${groupOf(address)}`).uid, 1000);
    assert.equal((await userdma('unbind', address)).status, 0);
    assert.equal(driver(), 'nvme');
  });

  it('binds every function of the command, or none', async () => {
    const { status, stderr } = await userdma('bind', address, '0000:00:10.7');
    assert.deepEqual([status, driver()], [3, 'nvme'], stderr);
    assert.equal((await userdma('bind', address, '--user', 'nobody-of-this-name', '--persist')).status, 2);
    assert.deepEqual([driver(), existsSync(rule)], ['nvme', false]);
  });

  it('--persist binds it again at every boot, until it is unbound', async () => {
    const events = '/sys/bus/pci/drivers_probe';
    /** As at a boot: the driver is that of the kernel, nothing is remembered, and udev is told of the function. */
    const boot = async () => {
      writeFileSync(`${folder}/driver_override`, '\n');
      if (existsSync(`${folder}/driver`)) writeFileSync(`${folder}/driver/unbind`, address);
      writeFileSync(events, address);
      assert.equal(driver(), 'nvme');
      rmSync(`/run/userdma/${address}`, { force: true });
      const env = { ...process.env, SYSTEMD_IGNORE_CHROOT: '1' };
      execFileSync('udevadm', ['control', '--reload'], { env });
      writeFileSync(`${folder}/uevent`, 'add');
      execFileSync('udevadm', ['settle'], { env });
    };
    const udevd = spawn('/lib/systemd/systemd-udevd', { stdio: ['ignore', 'inherit', 'inherit'] });
    try {
      assert.equal((await userdma('bind', address, '--user', '1000', '--persist')).status, 0);
      for (let i = 0; i < 300 && !existsSync('/run/udev/control'); i++) await sleep(100);
      chownSync(`/dev/vfio/${groupOf(address)}`, 0, 0);
      await boot();
      assert.equal(driver(), 'vfio-pci');
      assert.equal(statSync(`/dev/vfio/${groupOf(address)}`).uid, 1000);
      assert.deepEqual(unbindPci(address), { address, driver: 'nvme', former: 'vfio-pci' });
      await boot();
      assert.deepEqual([driver(), existsSync(rule)], ['nvme', false]);
    } finally {
      udevd.kill();
    }
  });
});
