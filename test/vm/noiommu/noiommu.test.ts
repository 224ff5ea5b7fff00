/** VFIO without an IOMMU: what openPciUnsafe has more there than around VFIO, and what it refuses. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  diagnoseMachine,
  dmaBitMask,
  openPci,
  openPciUnsafe,
  PCI_COMMAND,
  type PciFunction,
  PhysicalHugepages,
} from '../../../lib/index.ts';
import { readFacts } from '../../../lib/pci/facts.ts';
import { assert, describe, it } from '../../harness.ts';
import { device, refuses, rejects } from '../devices.ts';
import { EduParts } from '../edu-parts.ts';
import { holdings } from '../holdings.ts';
import { bindVfio } from '../hotplug.ts';
import { bind, hugepages } from '../uio.ts';

const EDU = device('USERDMA_TEST_EDU');
const DISK = device('USERDMA_TEST_NVME');
/** Three conventional functions on one bus, which are reset together. */
const BUS = [
  device('USERDMA_TEST_EDU_BRIDGED'),
  device('USERDMA_TEST_EDU_NEIGHBOUR'),
  device('USERDMA_TEST_SMALL_BAR'),
];
const MODE = '/sys/module/vfio/parameters/enable_unsafe_noiommu_mode';
const RAISE = 0x60;

const open = (address: string): Promise<PciFunction> =>
  openPciUnsafe(address, { memory: new PhysicalHugepages() });

describe('a function through VFIO without an IOMMU', () => {
  it('has every kind of interrupt, and the device raises them', async () => {
    using fn = await open(EDU);
    assert.deepEqual([fn.transport, fn.domain, fn.busMaster], ['vfio', undefined, false]);
    assert.deepEqual(
      (['intx', 'msi', 'msix'] as const).map((kind) => fn.interrupts.limit(kind)),
      [1, 1, 0],
    );
    fn.setMaster();
    for (const kind of ['msi', 'intx'] as const) {
      using interrupt = kind === 'msi' ? fn.interrupts.msi(0) : fn.interrupts.intx();
      fn.bar(0).write32(RAISE, 1);
      assert.equal(await interrupt.wait(), 1);
      fn.bar(0).write32(0x64, 1);
    }
    using disk = await open(DISK);
    assert.ok(disk.interrupts.limit('msix') > 1);
    using vector = disk.interrupts.msix(1);
    vector.trigger();
    assert.equal(await vector.wait(), 1);
  });

  it('moves bytes at physical addresses', async () => {
    using fn = await open(EDU);
    fn.dma.setMaskAndCoherent(dmaBitMask(40));
    fn.setMaster();
    const edu = new EduParts({ registers: fn.bar(0), interrupt: fn.interrupts.msi(0), dma: fn.dma });
    const page = fn.dma.allocCoherent(8192);
    page.bytes.fill(7, 0, 3000);
    await edu.fetch(page.dmaAddress, 3000);
    await edu.store(page.dmaAddress + 4096n, 3000);
    assert.deepEqual(page.bytes.slice(4096, 7096), page.bytes.slice(0, 3000));
    const foreign = Uint8Array.from({ length: 1500 }, (_, i) => i);
    assert.deepEqual(await edu.echo(foreign), foreign);
    // Nothing leads the DMA of another device to these registers, and nothing gives memory an address.
    refuses(() => fn.dma.mapResource(fn.bar(0), 0, 4096, 'bidirectional'), 'EINVAL');
    assert.equal(fn.dma.reserveIova(4096), null);
  });

  it('is reset alone, and with its bus', async () => {
    using disk = await open(DISK);
    disk.bar(0).write32(0x14, 0x46_0000);
    assert.equal(disk.reset().kind, 'function');
    const [first, second, third] = await Promise.all(BUS.map(open));
    const line = third!.interrupts.intx();
    third!.bar(0).write32(8, 0x12345678);
    let told = 0;
    second!.onReset(() => void told++);
    assert.deepEqual(first!.hotReset().functions, BUS);
    await sleep(1);
    assert.deepEqual([third!.bar(0).read32(8), told], [0, 1]);
    line.trigger();
    assert.equal(await line.wait(), 1);
    third!.close();
    refuses(() => first!.hotReset(), 'EPERM', `${BUS[2]} (/dev/vfio/noiommu-`);
    for (const fn of [first, second]) fn!.close();
  });

  it('is asked back, and comes back', async () => {
    const before = holdings();
    const fn = await open(EDU);
    let asked = 0;
    fn.onReleaseRequest(() => void asked++);
    await writeFile(`/sys/bus/pci/devices/${EDU}/driver/unbind`, EDU);
    assert.deepEqual([asked, fn.gone.aborted], [1, true]);
    refuses(() => fn.bar(0).read32(0), 'ENODEV');
    fn.close();
    await bindVfio(EDU);
    using again = await open(EDU);
    assert.equal(again.bar(0).read32(0), 0x0100_00ed);
    again.close();
    assert.deepEqual(holdings(), before);
  });

  it('leaves nothing behind, a thousand times', async () => {
    const once = async (): Promise<void> => {
      using fn = await open(EDU);
      fn.dma.allocCoherent(4096);
      fn.interrupts.msi(0);
    };
    for (let i = 0; i < 20; i++) await once();
    const [before, free] = [holdings(), hugepages('Free')];
    for (let i = 0; i < 1000; i++) await once();
    assert.deepEqual([holdings(), hugepages('Free')], [before, free]);
  });

  for (const end of ['exit', 'kill']) {
    it(`is stopped when its program ends: by ${end}`, () => {
      const child = fileURLToPath(new URL('../unsafe-child.js', import.meta.url));
      const run = spawnSync(process.execPath, [child, EDU, end], { encoding: 'utf8' });
      assert.equal(run.stdout, 'bus master on\n', run.stderr);
      const command = readFileSync(`/sys/bus/pci/devices/${EDU}/config`).readUInt16LE(4);
      assert.equal(command & PCI_COMMAND.master, 0);
    });
  }
});

describe('what stands in the way of VFIO without an IOMMU', () => {
  it('openPci does not take it, and says what does', async () => {
    await rejects(openPci(EDU), 'ENODEV', 'the IOMMU is off', 'openPciUnsafe');
    for (const iommu of ['iommufd', 'container'] as const) await rejects(openPci(EDU, { iommu }), 'ENODEV');
    const { machine, ways } = diagnoseMachine();
    assert.ok(machine.noIommuGroups.includes(readFacts(EDU).noIommuGroup!));
    assert.deepEqual([machine.groups, ways.vfio], [0, false]);
  });

  it('a function is opened once', async () => {
    using _fn = await open(EDU);
    await rejects(open(EDU), 'EBUSY', 'open already', 'this process');
  });

  it('without CAP_SYS_RAWIO it is EACCES', async () => {
    const memory = new PhysicalHugepages();
    process.seteuid!(1000);
    try {
      await rejects(openPciUnsafe(EDU, { memory }), 'EACCES', 'CAP_SYS_RAWIO');
    } finally {
      process.seteuid!(0);
    }
    memory.close();
  });

  it('the mode may be switched off again', async () => {
    writeFileSync(MODE, '0');
    try {
      await rejects(open(EDU), 'EOPNOTSUPP', 'switched off', `echo 1 > ${MODE}`);
    } finally {
      writeFileSync(MODE, '1');
    }
  });

  it('a function that VFIO does not have is opened as before', async () => {
    bind(EDU, undefined);
    try {
      using fn = await open(EDU);
      assert.equal(fn.transport, 'sysfs');
      refuses(() => fn.interrupts.msi(0), 'EINVAL');
    } finally {
      await sleep(10);
      bind(EDU, 'vfio-pci');
    }
  });
});
