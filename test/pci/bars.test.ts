/** Base address registers of every kind, and what of them is the host's. */
import { DmaError, type ErrnoName, openPci, PCI_COMMAND, type PciFunction } from '../../lib/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { PAGE } from '../page.ts';
import { nvmeLike } from './models.ts';
import { edu, nic, nvme, real } from './worlds.ts';

function refuses(action: () => unknown, code: ErrnoName, ...words: RegExp[]): void {
  assert.throws(action, (error: DmaError) => {
    assert.ok(error instanceof DmaError, String(error));
    assert.equal(error.code, code, error.message);
    for (const word of words) assert.match(error.message, word);
    return true;
  });
}

describe(`the BAR of ${nvme.name}, with its MSI-X table in it`, () => {
  const TABLE = 0x2000;
  const TABLE_END = TABLE + 65 * 16;
  const PENDING = 0x3000;
  /** Admin queue attributes: kept as written, while the controller is off. */
  const REGISTER = 0x24;
  let fn: PciFunction;
  beforeEach(async () => {
    fn = await nvme.open();
  });
  afterEach(() => fn.close());

  it('is one of 64 bits that takes the next number too', () => {
    const { kind, is64Bit, size, reserved } = fn.bar(0).info;
    assert.deepEqual([kind, is64Bit, size], ['memory', true, 0x4000]);
    assert.deepEqual(reserved, [
      { start: TABLE, end: TABLE_END, readable: false },
      { start: PENDING, end: PENDING + 16, readable: true },
    ]);
    refuses(() => fn.bar(1), 'EINVAL', /it has BAR 0$/);
  });

  it('takes accesses to its registers', () => {
    fn.bar(0).write32(REGISTER, 0x001f001f);
    assert.equal(fn.bar(0).read32(REGISTER), 0x001f001f);
  });

  it('keeps drivers out of the table, at every width', () => {
    const bar = fn.bar(0);
    for (const offset of [TABLE, TABLE + 8, TABLE_END - 8]) {
      const remedy = /fn\.interrupts\.msix/;
      refuses(() => bar.read8(offset + 7), 'EPERM', remedy);
      refuses(() => bar.read16(offset), 'EPERM', remedy);
      refuses(() => bar.read32(offset + 4), 'EPERM', remedy);
      refuses(() => bar.read64(offset), 'EPERM', remedy);
      refuses(() => bar.write8(offset, 0), 'EPERM', remedy);
      refuses(() => bar.write16(offset + 6, 0), 'EPERM', remedy);
      refuses(() => bar.write32(offset, 0), 'EPERM', remedy);
      refuses(() => bar.write64(offset, 0n), 'EPERM', remedy);
    }
    bar.read32(TABLE - 4);
    bar.read32(TABLE_END);
    refuses(() => bar.read32(TABLE + 1), 'EINVAL');
  });

  it('keeps sequences out of the table too, before they run', () => {
    const bar = fn.bar(0);
    bar.write32(REGISTER, 0x001f001f);
    const before = ['write32', REGISTER, 0x00010001] as const;
    for (const name of [
      'read8',
      'read16',
      'read32',
      'read64',
      'write8',
      'write16',
      'write32',
      'write64',
    ] as const) {
      refuses(() => bar.sequence([before, [name, TABLE]]), 'EPERM', /fn\.interrupts\.msix/);
      refuses(() => bar.sequence([before, [name, bar.size]]), 'EINVAL', /outside/);
    }
    refuses(() => bar.sequence([before, ['write32', PENDING]]), 'EPERM');
    assert.equal(bar.read32(REGISTER), 0x001f001f);
    const pending = bar.sequence([before, ['read64', PENDING], ['read32', REGISTER]]);
    pending.run();
    assert.deepEqual([pending.get64(1), pending.get(2)], [0n, 0x00010001]);
  });

  it('stops a sequence at the first access that the device does not answer', () => {
    const bar = fn.bar(0);
    const sequence = bar.sequence([
      ['write32', REGISTER, 0x00020002],
      ['read32', REGISTER],
    ]);
    sequence.run();
    fn.config.command &= ~PCI_COMMAND.memory;
    refuses(() => sequence.run(), 'EIO', /^step 0 of 2 \(write32\)/);
    assert.equal(sequence.done, 0);
    assert.equal(sequence.get(1), 0x00020002, 'what was read before stays');
    fn.config.command |= PCI_COMMAND.memory;
    sequence.run();
    assert.equal(sequence.done, 2);
  });

  it('shows the pending bits, and keeps them from being written', () => {
    const bar = fn.bar(0);
    assert.equal(bar.read64(PENDING), 0n);
    // The specification lets software read them by 32 and 64 bits only.
    assert.equal(bar.read32(PENDING + 12), 0);
    refuses(() => bar.write32(PENDING, 1), 'EPERM');
    refuses(() => bar.write8(PENDING + 15, 1), 'EPERM');
  });

  it('is not led to by DMA where the host is', () => {
    const bar = fn.bar(0);
    refuses(() => fn.dma.mapResource(bar, 0, 0x4000, 'to-device'), 'EPERM', /MSI-X/);
    // A larger page is all of the BAR.
    if (PAGE > 0x1000) return;
    refuses(() => fn.dma.mapResource(bar, TABLE, 0x1000, 'bidirectional'), 'EPERM');
    refuses(() => fn.dma.mapResource(bar, PENDING, 0x1000, 'from-device'), 'EPERM');
    fn.dma.mapResource(bar, 0, TABLE, 'bidirectional').unmap();
    fn.dma.mapResource(bar, PENDING, 0x1000, 'to-device').unmap();
  });
});

describe(`the BARs of ${nic.name}`, () => {
  let fn: PciFunction;
  beforeEach(async () => {
    fn = await nic.open();
  });
  afterEach(() => fn.close());

  it('are of memory and of ports', () => {
    const infos = [0, 1, 2, 3].map((index) => fn.bar(index).info);
    assert.deepEqual(
      infos.map(({ kind, size, is64Bit }) => [kind, size, is64Bit]),
      [
        ['memory', 0x20000, false],
        ['memory', 0x20000, false],
        ['io', 32, false],
        ['memory', 0x4000, false],
      ],
    );
    refuses(() => fn.bar(4), 'EINVAL', /BAR 0, 1, 2, 3$/);
  });

  it('of ports takes accesses, and no DMA', () => {
    const ports = fn.bar(2);
    ports.write32(0, 0x08); // the address of what the next port reads
    assert.equal(ports.read32(0), 0x08);
    refuses(() => ports.read32(32), 'EINVAL');
    const sequence = ports.sequence([
      ['write32', 0, 0x10],
      ['read32', 0],
      ['read64', 0],
      ['write32', 0, 0x08],
    ]);
    if (real) {
      refuses(() => sequence.run(), 'EOPNOTSUPP', /^step 2 of 4 \(read64\).*read64LoHi/);
      assert.equal(sequence.done, 2);
    } else sequence.run();
    assert.equal(sequence.get(1), 0x10);
    refuses(() => fn.dma.mapResource(ports, 0, 32, 'bidirectional'), 'EINVAL', /memory BAR/);
  });

  it('of MSI-X alone keep the table and the pending bits, and nothing else', () => {
    const bar = fn.bar(3);
    for (const offset of [0, 76]) refuses(() => bar.read32(offset), 'EPERM');
    assert.equal(bar.read32(0x2000), 0);
    refuses(() => bar.write32(0x2000, 0), 'EPERM');
    bar.read32(80);
    bar.read32(0x2008);
  });
});

describe(`the BAR of ${edu.name}, without MSI-X`, () => {
  it('is all the driver’s', async () => {
    using fn = await edu.open();
    assert.equal(fn.bar(0).info.reserved, undefined);
  });
});

describe(`the ROM of ${nic.name}`, () => {
  it('is read whole', async () => {
    using fn = await nic.open();
    const rom = fn.rom!;
    assert.equal(rom.size, 0x40000);
    const bytes = rom.read();
    assert.deepEqual([bytes.length, bytes[0], bytes[1]], [0x40000, 0x55, 0xaa]);
    bytes.fill(0); // a copy
    assert.equal(rom.read()[0], 0x55);
  });

  it('does not answer after close', async () => {
    const fn = await nic.open();
    const { rom } = fn;
    fn.close();
    refuses(() => rom!.read(), 'ENODEV');
  });

  it('is not there for the others', async () => {
    for (const world of [nvme, edu]) {
      using fn = await world.open();
      assert.equal(fn.rom, undefined, world.name);
    }
  });
});

// No device of the virtual machine has a broken one.
if (!real) {
  describe('a ROM without an image', () => {
    it('is EIO', async () => {
      const model = nvmeLike();
      const broken = { ...model.config, rom: new Uint8Array(2048) };
      Object.assign(model, { config: broken });
      using fn = await openPci(simulate(model));
      refuses(() => fn.rom!.read(), 'EIO', /0x55 0xaa/);
    });
  });
}
