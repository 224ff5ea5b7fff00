/** Opening what cannot be opened, on a real kernel: one error each, the remedy works, and nothing stays open. */
import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openPci } from '../../lib/index.ts';
import { loadAddon } from '../../lib/native/load.ts';
import { VFIO_GROUP_VIABLE, VFIO_IOMMU } from '../../lib/native/vfio.ts';
import { openVfio } from '../../lib/pci/vfio/open.ts';
import { afterEach, assert, describe, it } from '../harness.ts';
import { device, groupOf, ownDescriptors, refuses } from './devices.ts';

const NOBODY = 65534;
const drivers = '/sys/bus/pci/drivers';
const sysfs = (address: string): string => `/sys/bus/pci/devices/${address}`;

function driverOf(address: string): string | undefined {
  return existsSync(`${sysfs(address)}/driver`)
    ? basename(readlinkSync(`${sysfs(address)}/driver`))
    : undefined;
}

/** The shell commands at the end of an error, without loading the module, which is there. */
function runRemedy(message: string): void {
  const commands = /modprobe vfio-pci && (.*)$/.exec(message)?.[1];
  assert.ok(commands, message);
  execFileSync('/bin/sh', ['-e', '-c', commands]);
}

/** Runs open-child.ts as an ordinary user with `kib` of locked memory; what it printed. */
function asNobody(address: string, kib: number): { code?: string; message?: string; small?: boolean } {
  const child = fileURLToPath(new URL('open-child.js', import.meta.url));
  const output = execFileSync(
    '/bin/sh',
    ['-c', `ulimit -l ${kib} && exec "$0" "$@"`, process.execPath, child, address, String(NOBODY)],
    { encoding: 'utf8' },
  );
  return JSON.parse(output);
}

/** MSI-X vectors can be armed and disarmed in any order, whether or not the kernel can add vectors later. */
function armsMsix(address: string): void {
  const { transport, dma } = openVfio(address);
  const { interrupts } = transport;
  const limit = interrupts.limit('msix');
  assert.ok(limit >= 2, `${limit} vectors`);
  interrupts.enable('msix', 0, () => {});
  interrupts.enable('msix', limit - 1, () => {});
  refuses(() => interrupts.enable('msix', limit, () => {}), 'EINVAL', `vectors 0 to ${limit - 1}`);
  refuses(() => interrupts.enable('msi', 0, () => {}), interrupts.limit('msi') === 0 ? 'EINVAL' : 'EBUSY');
  interrupts.disable('msix', 0);
  interrupts.enable('msix', 0, () => {});
  interrupts.disable('msix', limit - 1);
  interrupts.disable('msix', 0);
  interrupts.enable('intx', 0, () => {});
  transport.close();
  dma.close();
}

describe('a kernel without iommufd', () => {
  it('takes the container, and says what iommufd needs where it is asked for', () => {
    const address = device('USERDMA_TEST_EDU');
    const { transport, dma } = openVfio(address);
    assert.equal(dma.domain!.name, 'type1');
    transport.close();
    dma.close();
    if (existsSync('/dev/iommu')) return;
    refuses(
      () => openVfio(address, { iommu: 'iommufd' }),
      'ENODEV',
      'modprobe iommufd',
      'Linux 6.6',
      "iommu: 'container'",
    );
  });
});

describe('a function that was never master', () => {
  const address = device('USERDMA_TEST_EDU');

  it('and was given memory: dma-debug tells so when it is closed', async () => {
    const fn = await openPci(address, { debug: { print: false } });
    fn.dma.allocCoherent(4096).free();
    fn.close();
    const kinds = fn.dma.debug!.reports.map(({ kind }) => kind);
    assert.deepEqual(kinds, ['no-bus-master']);
  });

  it('for a while: nothing is told', async () => {
    const fn = await openPci(address, { debug: { print: false } });
    fn.dma.allocCoherent(4096).free();
    fn.setMaster();
    fn.close();
    assert.deepEqual([...fn.dma.debug!.reports], []);
  });
});

describe('opening', () => {
  afterEach(() =>
    assert.deepEqual(
      ownDescriptors().filter(({ target }) => /vfio|userdma/.test(target)),
      [],
    ),
  );

  it('refuses what is no address', () => {
    for (const bad of ['', 'edu', '0000:00:10', '0000:00:20.0', '/dev/vfio/5', '0000:00:10.0/..', 5, null]) {
      refuses(() => openVfio(bad as string), 'EINVAL', 'domain:bus:device.function');
    }
  });

  it('names what an absent address may have meant', () => {
    refuses(() => openVfio('0000:00:12.0'), 'ENODEV', 'no PCI function', device('USERDMA_TEST_EDU'));
  });

  it('names the driver a function is bound to', () => {
    const sibling = device('USERDMA_TEST_SIBLING');
    refuses(() => openVfio(sibling), 'EBUSY', 'virtio-pci', `${sysfs(sibling)}/driver/unbind`);
  });

  it('names the neighbour that makes a group not viable; its remedy makes it viable', () => {
    const edu = device('USERDMA_TEST_EDU_SHARED');
    const sibling = device('USERDMA_TEST_SIBLING');
    const { message } = refuses(() => openVfio(edu), 'EPERM', 'not viable', `${sibling} (virtio-pci)`);
    const native = loadAddon();
    const container = native.vfioContainerOpen(VFIO_IOMMU.type1);
    assert.equal(native.vfioGroupOpen(container, groupOf(edu)), 0);
    assert.equal(native.vfioGroupStatus(container, groupOf(edu)) & VFIO_GROUP_VIABLE, 0);
    assert.equal(native.vfioGroupAttach(container, groupOf(edu)), -1);
    native.vfioContainerClose(container);

    runRemedy(message);
    assert.equal(driverOf(sibling), 'vfio-pci');
    const { transport, dma } = openVfio(edu);
    assert.equal(transport.bars[0]!.read32(0), 0x0100_00ed);
    transport.close();
    dma.close();
    armsMsix(sibling);

    writeFileSync(`${sysfs(sibling)}/driver/unbind`, sibling);
    writeFileSync(`${sysfs(sibling)}/driver_override`, '\n');
    writeFileSync('/sys/bus/pci/drivers_probe', sibling);
    assert.equal(driverOf(sibling), 'virtio-pci');
  });

  it('gives commands that bind a function nobody drives', () => {
    const edu = device('USERDMA_TEST_EDU');
    writeFileSync(`${drivers}/vfio-pci/unbind`, edu);
    writeFileSync(`${sysfs(edu)}/driver_override`, '\n');
    assert.equal(driverOf(edu), undefined);
    runRemedy(refuses(() => openVfio(edu), 'ENODEV', 'bound to no driver').message);
    assert.equal(driverOf(edu), 'vfio-pci');
    const { transport, dma } = openVfio(edu);
    transport.close();
    dma.close();
  });

  it('says who may open the group node', () => {
    const edu = device('USERDMA_TEST_EDU');
    const { code, message } = asNobody(edu, 8192);
    assert.equal(code, 'EACCES');
    assert.match(message ?? '', new RegExp(`chown \\S+ /dev/vfio/${groupOf(edu)}`));
  });

  it('says how much locked memory is needed, allowed, and how to raise it', () => {
    const edu = device('USERDMA_TEST_EDU');
    const node = `/dev/vfio/${groupOf(edu)}`;
    chownSync(node, NOBODY, NOBODY);
    try {
      const { code, message = '', small } = asNobody(edu, 64);
      assert.equal(code, 'ENOMEM', message);
      for (const words of [
        'needed in all',
        'the limit is 64 KiB',
        'ulimit -l',
        'LimitMEMLOCK=',
        'CAP_IPC_LOCK',
      ]) {
        assert.ok(message.includes(words), message);
      }
      assert.equal(small, true, 'a smaller buffer still fits');
    } finally {
      chownSync(node, 0, 0);
    }
  });
});
