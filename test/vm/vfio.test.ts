/** One function through VFIO: configuration, registers, interrupts, and what opening leaves behind. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { InterruptKind } from '../../lib/interrupts/access.ts';
import { PCI_COMMAND } from '../../lib/pci/header.ts';
import type { OpenedFunction, PciTransport } from '../../lib/pci/transport.ts';
import { openVfio } from '../../lib/pci/vfio/open.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { until } from '../until.ts';
import { device, ownDescriptors, refuses } from './devices.ts';

/** Registers of QEMU's edu device. */
const EDU = {
  id: 0x00,
  liveness: 0x04,
  status: 0x24,
  raise: 0x60,
  acknowledge: 0x64,
  dmaSource: 0x80,
} as const;
const COMMAND = 0x04;
const O_CLOEXEC = 0o2000000;

describe('a function through VFIO', () => {
  const address = device('USERDMA_TEST_EDU');
  let opened: OpenedFunction;
  let transport: PciTransport;

  beforeEach(() => {
    opened = openVfio(address);
    transport = opened.transport;
  });
  afterEach(() => {
    transport.close();
    opened.dma.close();
  });

  const command = (): number => transport.config.read(COMMAND, 2);

  it('is what the bus says it is', () => {
    assert.equal(transport.name, 'vfio');
    assert.equal(transport.address, address);
    const bar = transport.bars[0]!;
    assert.deepEqual(bar.info, {
      index: 0,
      size: 0x10_0000,
      kind: 'memory',
      is64Bit: false,
      prefetchable: false,
    });
    assert.equal(transport.bars.filter((one) => one !== undefined).length, 1);
    assert.equal(bar.read32(EDU.id), 0x0100_00ed);
    bar.write32(EDU.liveness, 0x1234_5678);
    assert.equal(bar.read32(EDU.liveness), 0xedcb_a987);
    bar.write64(EDU.dmaSource, 0x0123_4567_89abn);
    assert.equal(bar.read64(EDU.dmaSource), 0x0123_4567_89abn);
  });

  it('has the configuration space that sysfs shows', () => {
    const expected = readFileSync(`/sys/bus/pci/devices/${address}/config`);
    assert.equal(transport.config.size, expected.length);
    for (let offset = 0; offset < expected.length; offset += 4) {
      if (offset === COMMAND) continue; // VFIO keeps some of its bits to itself
      assert.equal(transport.config.read(offset, 4), expected.readUInt32LE(offset), `at ${offset}`);
    }
    assert.equal(transport.config.read(0x00, 2), 0x1234);
    assert.equal(transport.config.read(0x03, 1), 0x11);
  });

  it('starts with memory decode on and bus mastering off', () => {
    assert.equal(command() & (PCI_COMMAND.memory | PCI_COMMAND.master), PCI_COMMAND.memory);
    transport.config.write(COMMAND, 2, command() | PCI_COMMAND.master);
    transport.close();
    opened.dma.close();
    opened = openVfio(address);
    transport = opened.transport;
    assert.equal(command() & PCI_COMMAND.master, 0);
  });

  it('answers EIO, and survives, while memory decode is off', () => {
    const bar = transport.bars[0]!;
    transport.config.write(COMMAND, 2, command() & ~PCI_COMMAND.memory);
    const accesses = [
      () => bar.read32(0),
      () => bar.read64(EDU.dmaSource),
      () => bar.write32(EDU.liveness, 1),
      () => bar.write64(EDU.dmaSource, 1n),
    ];
    for (const access of accesses) refuses(access, 'EIO', 'memory decode');
    transport.config.write(COMMAND, 2, command() | PCI_COMMAND.memory);
    assert.equal(bar.read32(EDU.id), 0x0100_00ed);
  });

  it('says that edu has no reset', () => {
    refuses(() => transport.reset(), 'EOPNOTSUPP', address);
  });

  it('cannot be opened twice', () => {
    const before = ownDescriptors().length;
    refuses(() => openVfio(address), 'EBUSY', 'open already', 'close it first');
    assert.equal(ownDescriptors().length, before);
  });

  it('keeps every descriptor from programs it starts', () => {
    transport.interrupts.enable('msi', 0, () => {});
    opened.dma.allocCoherent(4096);
    const own = ownDescriptors();
    for (const part of [/vfio\/vfio/, /vfio\/\d+/, /vfio-device/, /memfd:userdma/, /eventfd/]) {
      assert.ok(
        own.some(({ target }) => part.test(target)),
        `${part} among ${own.map((fd) => fd.target)}`,
      );
    }
    for (const { target, flags } of own) assert.ok((flags & O_CLOEXEC) !== 0, target);
    const seen = execFileSync('/bin/ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
    assert.doesNotMatch(seen, /vfio|userdma/);
  });

  it('leaves no descriptor behind', () => {
    transport.interrupts.enable('msi', 0, () => {});
    transport.close();
    transport.close();
    opened.dma.close();
    assert.deepEqual(
      ownDescriptors().filter(({ target }) => /vfio|userdma/.test(target)),
      [],
    );
    refuses(() => transport.bars[0]!.read32(0), 'ENODEV');
    refuses(() => transport.bars[0]!.write64(0, 0n), 'ENODEV');
    refuses(() => transport.config.read(0, 4), 'ENODEV');
    refuses(() => transport.reset(), 'ENODEV');
    refuses(() => transport.interrupts.enable('msi', 0, () => {}), 'ENODEV');
    refuses(() => transport.interrupts.unmaskIntx(), 'ENODEV');
  });

  it('can be closed from either end', () => {
    opened.dma.allocCoherent(4096);
    opened.dma.close();
    transport.close();
    opened = openVfio(address);
    transport = opened.transport;
  });
});

describe('interrupts through VFIO', () => {
  let opened: OpenedFunction;
  let transport: PciTransport;
  let delivered = 0;

  beforeEach(() => {
    opened = openVfio(device('USERDMA_TEST_EDU'));
    transport = opened.transport;
    // MSI is a memory write of the function.
    transport.config.write(COMMAND, 2, transport.config.read(COMMAND, 2) | PCI_COMMAND.master);
    delivered = 0;
  });
  afterEach(() => {
    transport.close();
    opened.dma.close();
  });

  const enable = (kind: InterruptKind, vector = 0): void =>
    transport.interrupts.enable(kind, vector, (count) => {
      delivered += count;
    });
  const raise = (): void => transport.bars[0]!.write32(EDU.raise, 1);
  const acknowledge = (): void => transport.bars[0]!.write32(EDU.acknowledge, 1);

  const arrived = (count: number): Promise<void> =>
    until(() => delivered >= count, `${count} interrupts arrive`, 1);

  /** Time enough for a delivery that must not happen. */
  async function quiet(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }

  it('are as many as the function offers', () => {
    const { interrupts } = transport;
    assert.deepEqual(
      [interrupts.limit('intx'), interrupts.limit('msi'), interrupts.limit('msix')],
      [1, 1, 0],
    );
    for (const vector of [1, -1, 0.5, Number.NaN]) refuses(() => enable('msi', vector), 'EINVAL');
    refuses(() => enable('msix'), 'EINVAL', 'has no msix');
    refuses(() => enable('legacy' as InterruptKind), 'EINVAL');
  });

  it('arrive by MSI, one for one', async () => {
    enable('msi');
    for (let i = 1; i <= 100; i++) {
      raise();
      await arrived(i);
      acknowledge();
    }
    assert.equal(delivered, 100);
  });

  it('arrive by INTx, which masks itself until it is unmasked', async () => {
    enable('intx');
    raise();
    await arrived(1);
    acknowledge();
    raise();
    await quiet();
    assert.equal(delivered, 1);
    transport.interrupts.unmaskIntx();
    await arrived(2);
    acknowledge();
    transport.interrupts.unmaskIntx();
    await quiet();
    assert.equal(delivered, 2);
  });

  it('do not arrive once disarmed', async () => {
    enable('msi');
    raise();
    transport.interrupts.disable('msi', 0);
    transport.interrupts.disable('msi', 0);
    raise();
    await quiet();
    assert.equal(delivered, 0);
    acknowledge();
  });

  it('are of one kind at a time', async () => {
    enable('msi');
    refuses(() => enable('intx'), 'EBUSY', 'while msi is');
    refuses(() => enable('msi'), 'EBUSY', 'armed already');
    refuses(() => transport.interrupts.unmaskIntx(), 'EINVAL');
    transport.interrupts.disable('msi', 0);
    enable('intx');
    refuses(() => enable('msi'), 'EBUSY', 'while intx is');
    raise();
    await arrived(1);
    acknowledge();
    transport.interrupts.disable('intx', 0);
    enable('msi');
    raise();
    await arrived(2);
    acknowledge();
  });
});
