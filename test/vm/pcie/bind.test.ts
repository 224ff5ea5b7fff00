/** An NVMe disk goes from vfio-pci to Linux, which mounts it, to vfio-pci, and back to Linux, which finds its files. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bindPci, unbindPci } from '../../../lib/pci/bind.ts';
import { afterAll, assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('bind and unbind of an NVMe disk', () => {
  const address = device('USERDMA_TEST_NVME_SECOND');
  const folder = `/sys/bus/pci/devices/${address}`;
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

  it('the command does the same, and prints its undo', () => {
    const main = join(process.cwd(), 'dist', 'bundle', 'cli', 'main.js');
    const run = (...words: string[]) =>
      spawnSync(process.execPath, [main, ...words], {
        encoding: 'utf8',
        env: { ...process.env, NO_COLOR: '1' },
      });
    mkdirSync('/tmp', { recursive: true });
    const bound = run('bind', address, '--user', '1000');
    assert.deepEqual([bound.status, bound.stderr], [0, '']);
    assert.match(bound.stdout, new RegExp(`nvme -> vfio-pci\nundo: npx userdma unbind ${address}`));
    assert.equal(run('unbind', address).status, 0);
    assert.equal(driver(), 'nvme');
  });
});
