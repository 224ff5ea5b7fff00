/** Direct operations on real addresses: huge pages, and a function that nothing stands before. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  dmaBitMask,
  findPci,
  openPciUnsafe,
  PCI_COMMAND,
  type PciFunction,
  PhysicalHugepages,
} from '../../../lib/index.ts';
import { afterAll, afterEach, assert, beforeAll, beforeEach, describe, it } from '../../harness.ts';
import { device, ownDescriptors, refuses } from '../devices.ts';
import { EduParts } from '../edu-parts.ts';
import { bind, hugepages, reserveHugepages } from '../uio.ts';

const MIB = 2 ** 20;
const RESERVED = 24;

/** Where the kernel says the machine's memory is. */
function systemMemory(): { start: number; end: number }[] {
  return [...readFileSync('/proc/iomem', 'utf8').matchAll(/^([0-9a-f]+)-([0-9a-f]+) : System RAM$/gm)].map(
    ([, start, end]) => ({ start: Number.parseInt(start!, 16), end: Number.parseInt(end!, 16) }),
  );
}

const pattern = (size: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => (i * 7 + seed) % 251);

describe('huge pages at their physical addresses', () => {
  beforeAll(() => void assert.equal(reserveHugepages(RESERVED), RESERVED));
  afterAll(() => void reserveHugepages(0));

  it('lie in the memory of the machine, each on its boundary', () => {
    const memory = new PhysicalHugepages();
    const huge = 2 * MIB;
    for (let i = 0; i < 4; i++) memory.allocate(huge);
    assert.equal(memory.ranges.length > 0, true);
    for (const { start, end } of memory.ranges) {
      assert.equal(start % huge, 0);
      assert.equal((end + 1) % huge, 0);
      assert.ok(
        systemMemory().some((ram) => ram.start <= start && end <= ram.end),
        `0x${start.toString(16)}`,
      );
    }
    assert.equal(hugepages('Free'), RESERVED - 4);
    memory.close();
    assert.equal(hugepages('Free'), RESERVED);
  });

  it('are carved at a multiple of the power of two of pages that holds the size, and reused', () => {
    const memory = new PhysicalHugepages();
    const sizes = [1, 4096, 4097, 3 * 4096, 65536, 5 * 65536, MIB + 1];
    const buffers = sizes.map((size) => memory.allocate(size));
    const spans = buffers.map((buffer, i) => ({ start: memory.addressOf(buffer), size: sizes[i]! }));
    for (const { start, size } of spans)
      assert.equal(start % 2 ** Math.ceil(Math.log2(Math.max(size, 4096))), 0);
    const ascending = [...spans].sort((a, b) => a.start - b.start);
    ascending
      .slice(1)
      .forEach((next, i) => void assert.ok(ascending[i]!.start + ascending[i]!.size <= next.start));
    new Uint8Array(buffers[2]!).fill(1);
    memory.free(buffers[2]!);
    assert.equal(buffers[2]!.byteLength, 0);
    const again = memory.allocate(4097);
    assert.ok(new Uint8Array(again).every((byte) => byte === 0));
    refuses(() => memory.free(buffers[2]!), 'EINVAL');
    refuses(() => memory.addressOf(new ArrayBuffer(1)), 'EINVAL');
    memory.close();
    assert.equal(again.byteLength, 0);
    refuses(() => memory.allocate(1), 'ENODEV');
  });

  it('come several at a time where they lie next to each other', () => {
    const memory = new PhysicalHugepages();
    const large = memory.allocate(6 * MIB);
    assert.equal(large.byteLength, 6 * MIB);
    assert.equal(memory.addressOf(large) % (8 * MIB), 0);
    const address = memory.addressOf(large);
    assert.ok(memory.ranges.some(({ start, end }) => start <= address && address + 6 * MIB - 1 <= end));
    memory.close();
  });

  it('are refused when none is left, none is low enough, or the size is none', () => {
    const memory = new PhysicalHugepages();
    refuses(() => memory.allocate(2 * RESERVED * MIB * 2), 'ENOMEM', 'vm.nr_hugepages');
    refuses(() => memory.allocateBelow(4096, 4095), 'ENOMEM', 'at or below address 0xfff', 'hugepages=N');
    assert.equal(hugepages('Free'), RESERVED - 1, 'what did not serve went back');
    for (const size of [0, -1, 0.5, Number.NaN]) refuses(() => memory.allocate(size), 'EINVAL');
    memory.close();
    refuses(() => new PhysicalHugepages({ below: 0n }), 'EINVAL');
    refuses(() => new PhysicalHugepages({ below: 0xfffn }), 'ENOMEM');
    assert.equal(hugepages('Free'), RESERVED);
  });

  it('do not go back into use while somebody still holds them', () => {
    if (!('transfer' in ArrayBuffer.prototype)) return; // on Node 20 nobody can take such a buffer
    const memory = new PhysicalHugepages();
    const buffer = memory.allocate(4096) as ArrayBuffer & { transfer(): ArrayBuffer };
    const address = memory.addressOf(buffer);
    const stolen = new Uint8Array(buffer.transfer());
    memory.free(buffer);
    assert.equal(memory.quarantined, 4096);
    for (let i = 0; i < 511; i++) assert.notEqual(memory.addressOf(memory.allocate(4096)), address);
    memory.close();
    stolen.fill(1);
  });

  it('are kept from whoever may not know physical addresses', () => {
    const child = fileURLToPath(new URL('../hugepages-child.js', import.meta.url));
    const output = execFileSync(process.execPath, [child], { encoding: 'utf8' });
    assert.match(output, /^EPERM .*run as root/);
    assert.equal(hugepages('Free'), RESERVED);
  });
});

for (const driver of [undefined, 'uio_pci_generic']) {
  describe(`a function without an IOMMU, bound to ${driver ?? 'no driver'}`, () => {
    const address = device('USERDMA_TEST_EDU_WIDE');
    let fn: PciFunction;

    beforeAll(() => void reserveHugepages(RESERVED));
    afterAll(() => {
      bind(address, undefined);
      reserveHugepages(0);
    });
    beforeEach(async () => {
      bind(address, driver);
      fn = await openPciUnsafe(address, { memory: new PhysicalHugepages() });
    });
    afterEach(() => {
      fn.close();
      assert.deepEqual(
        ownDescriptors().filter(({ target }) => /userdma/.test(target)),
        [],
      );
    });

    it('is what the bus says it is, with decoding on and bus mastering off', () => {
      assert.deepEqual([fn.transport, fn.address], ['sysfs', address]);
      assert.deepEqual([fn.config.vendorId, fn.config.deviceId, fn.config.size], [0x1234, 0x11e8, 256]);
      const { info } = fn.bar(0);
      assert.deepEqual(info, { index: 0, size: MIB, kind: 'memory', is64Bit: false, prefetchable: false });
      assert.equal(fn.bar(0).size, MIB);
      assert.equal(fn.bar(0).read32(0), 0x0100_00ed);
      assert.equal(fn.busMaster, false);
      fn.setMaster();
      assert.equal(fn.busMaster, true);
      fn.close();
      const command = readFileSync(`/sys/bus/pci/devices/${address}/config`).readUInt16LE(4);
      assert.equal(command & 4, 0);
    });

    it('has registers by exact width, checked', () => {
      const bar = fn.bar(0);
      bar.write32(0x04, 0x1234_5678);
      assert.equal(bar.read32(0x04), 0xedcb_a987);
      bar.write64(0x80, 0x0123_4567_89abn);
      assert.equal(bar.read64(0x80), 0x0123_4567_89abn);
      refuses(() => bar.read32(MIB), 'EINVAL', 'outside its 1048576 bytes');
      refuses(() => bar.read32(2), 'EINVAL', 'misaligned');
      refuses(() => fn.bar(1), 'EINVAL', 'it has BAR 0');
      fn.close();
      refuses(() => bar.read32(0), 'ENODEV');
      refuses(() => fn.config.read32(0), 'ENODEV');
    });

    it('has no reset', () => {
      refuses(() => fn.reset(), 'EOPNOTSUPP');
      refuses(() => fn.hotReset(), 'EOPNOTSUPP');
    });

    it('has a ROM that starts with its signature', () => {
      const { size } = fn.rom!;
      assert.equal(size, 128 * 1024);
      const bytes = fn.rom!.read();
      assert.ok(bytes.length > 1024 && bytes.length <= size);
      assert.deepEqual([...bytes.subarray(0, 2)], [0x55, 0xaa]);
      const { rom } = fn;
      fn.close();
      refuses(() => rom!.read(), 'ENODEV');
    });

    it('has INTx with uio_pci_generic, and never MSI', () => {
      assert.deepEqual(
        (['intx', 'msi', 'msix'] as const).map((kind) => fn.interrupts.limit(kind)),
        [driver === undefined ? 0 : 1, 0, 0],
      );
      refuses(() => fn.interrupts.msi(0), 'EINVAL');
      if (driver === undefined) refuses(() => fn.interrupts.intx(), 'EINVAL');
    });
  });
}

describe("the device's DMA on physical addresses", () => {
  const address = device('USERDMA_TEST_EDU_WIDE');
  let fn: PciFunction;
  let edu: EduParts;

  beforeAll(() => {
    reserveHugepages(RESERVED);
    bind(address, 'uio_pci_generic');
  });
  afterAll(() => {
    bind(address, undefined);
    reserveHugepages(0);
  });
  beforeEach(async () => {
    fn = await openPciUnsafe(address, { memory: new PhysicalHugepages() });
    fn.dma.setMaskAndCoherent(dmaBitMask(40));
    fn.setMaster();
    edu = new EduParts({ registers: fn.bar(0), interrupt: fn.interrupts.intx(), dma: fn.dma });
  });
  afterEach(() => fn.close());

  it('goes there and back through coherent memory', async () => {
    const page = fn.dma.allocCoherent(8192);
    assert.ok(page.dmaAddress <= fn.dma.requiredMask);
    page.bytes.set(pattern(3000, 1));
    await edu.fetch(page.dmaAddress, 3000);
    page.bytes.fill(0);
    await edu.store(page.dmaAddress + 4096n, 3000);
    assert.deepEqual(page.bytes.slice(4096, 7096), pattern(3000, 1));
    assert.ok(page.bytes.subarray(0, 4096).every((byte) => byte === 0));
    assert.ok(
      page.bytes.subarray(7096).every((byte) => byte === 0),
      'not a byte more',
    );
  });

  it('goes through bounced and through own memory', async () => {
    const foreign = pattern(1500, 2);
    const mapping = fn.dma.mapSingle(foreign, 'to-device');
    assert.equal(mapping.way, 'bounced');
    mapping.unmap();
    assert.deepEqual(await edu.echo(foreign), foreign);

    const own = fn.dma.allocNoncoherent(4096, 'bidirectional');
    own.bytes.set(pattern(4000, 3));
    {
      using lent = fn.dma.mapSingle(own.bytes, 'to-device');
      assert.equal(lent.way, 'arithmetic');
      await edu.fetch(lent.dmaAddress, 4000);
    }
    own.bytes.fill(0);
    using lent = fn.dma.mapSingle(own.bytes, 'from-device');
    await edu.store(lent.dmaAddress, 4000);
    lent.unmap();
    assert.deepEqual(own.bytes.slice(0, 4000), pattern(4000, 3));
  });

  it('goes through lists and pools', async () => {
    const list = fn.dma.mapSg([pattern(100, 4), pattern(200, 5)], 'to-device');
    let at = 0;
    for (const { dmaAddress, length } of list.segments) {
      await edu.fetch(dmaAddress, length, at);
      at += length;
    }
    list.unmap();
    const pool = fn.dma.createPool('blocks', { size: 512, align: 64 });
    const block = pool.alloc()!;
    await edu.store(block.dmaAddress, 300);
    assert.deepEqual(block.bytes.slice(0, 300), Uint8Array.of(...pattern(100, 4), ...pattern(200, 5)));
  });

  it('is refused where no IOMMU could lead it', () => {
    refuses(() => fn.dma.mapResource(fn.bar(0), 0, 4096, 'bidirectional'), 'EINVAL');
    assert.equal(fn.dma.reserveIova(4096), null);
  });
});

describe('a function without an IOMMU, when its program ends', () => {
  const address = device('USERDMA_TEST_EDU_WIDE');
  const child = fileURLToPath(new URL('../unsafe-child.js', import.meta.url));
  const masters = (): boolean =>
    (readFileSync(`/sys/bus/pci/devices/${address}/config`).readUInt16LE(4) & PCI_COMMAND.master) !== 0;

  beforeAll(() => void reserveHugepages(2));
  afterAll(() => {
    bind(address, undefined);
    reserveHugepages(0);
  });

  for (const [driver, end] of [
    [undefined, 'exit'],
    ['uio_pci_generic', 'exit'],
    ['uio_pci_generic', 'kill'],
  ] as const) {
    it(`is stopped: by ${end}, bound to ${driver ?? 'no driver'}`, () => {
      bind(address, driver);
      const run = spawnSync(process.execPath, [child, address, end], { encoding: 'utf8' });
      assert.equal(run.stdout, 'bus master on\n', run.stderr);
      assert.equal(run.signal, end === 'kill' ? 'SIGKILL' : null);
      assert.equal(masters(), false);
      assert.equal(hugepages('Free'), 2);
    });
  }
});

describe('I/O ports without an IOMMU', () => {
  /** The SMBus controller of the machine: one BAR of ports. Its first data register holds what it is given. */
  const DATA_0 = 5;

  beforeAll(() => void reserveHugepages(1));
  afterAll(() => void reserveHugepages(0));

  it('are read and written one by one', async () => {
    const [smbus] = findPci(0x8086, 0x2930);
    assert.ok(smbus, 'the SMBus controller');
    using fn = await openPciUnsafe(smbus, { memory: new PhysicalHugepages() });
    const bar = fn.bar(4);
    assert.deepEqual([bar.info.kind, bar.window], ['io', undefined]);
    for (const value of [0xa5, 0x5a]) {
      bar.write8(DATA_0, value);
      assert.equal(bar.read8(DATA_0), value);
    }
    refuses(() => bar.read64(0), 'EOPNOTSUPP');
    refuses(() => bar.read8(bar.size), 'EINVAL', 'outside');
  });
});

describe('opening a function around the kernel', () => {
  const refusal = async (target: string, code: string, ...words: string[]): Promise<void> => {
    const memory = new PhysicalHugepages();
    await assert.rejects(openPciUnsafe(target, { memory }), (error: Error & { code?: string }) => {
      assert.equal(error.code, code, error.message);
      for (const word of words) assert.ok(error.message.includes(word), error.message);
      return true;
    });
    assert.equal(memory.allocate(1).byteLength, 1, 'the memory stays the caller’s');
    memory.close();
  };

  beforeAll(() => void reserveHugepages(2));
  afterAll(() => void reserveHugepages(0));

  it('names the driver that holds it', async () => {
    const [held] = findPci(0x1af4, 0x1009);
    assert.ok(held, 'the device of the shared folder');
    await refusal(held, 'EBUSY', 'virtio-pci', `${held}/driver/unbind`);
  });

  it('refuses what is not there or no address', async () => {
    await refusal('0000:00:19.0', 'ENODEV', 'no PCI function');
    await refusal('edu', 'EINVAL', 'domain:bus:device.function');
  });
});
