/** What dma-debug sees of a simulated device, case by case; the mistakes of whole drivers are in test/mistakes. */
import { describe, expect, it } from 'vitest';
import {
  DMA_ATTR,
  type DmaDevice,
  dmaBitMask,
  type OpenOptions,
  openPci,
  type PciFunction,
} from '../../lib/index.ts';
import { type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { foreignPages } from '../conformance/bytes.ts';
import { RecordingModel } from './sim-fixture.ts';

interface Opened {
  readonly fn: PciFunction;
  readonly dma: DmaDevice;
  read(address: bigint, size: number): void;
  write(address: bigint, size: number, value?: number): void;
  /** Kinds reported since the last call. */
  kinds(): string[];
  /** The message reported last. */
  message(): string;
}

async function open(options: SimulateOptions = {}, how: OpenOptions = {}): Promise<Opened> {
  const model = new RecordingModel();
  const fn = await openPci(simulate(model, options), { debug: { print: false }, ...how });
  fn.setMaster();
  const { dma } = fn;
  const debug = dma.debug!;
  return {
    fn,
    dma,
    read: (address, size) => model.bus.dmaRead(address, new Uint8Array(size)),
    write: (address, size, value = 0xaa) => model.bus.dmaWrite(address, new Uint8Array(size).fill(value)),
    kinds() {
      const kinds = debug.reports.map(({ kind }) => kind);
      if (kinds.length > 0) last = debug.reports.at(-1)!.message;
      debug.clear();
      return kinds;
    },
    message: () => last,
  };
}

let last = '';

const WORLDS: readonly [string, SimulateOptions][] = [
  ['coherent', {}],
  ['incoherent', { coherent: false }],
  ['direct', { iommu: false }],
];

describe.each(WORLDS)('debugging a simulated device, %s', (_name, options) => {
  it('lets CPU and device use coherent memory at any time', async () => {
    const { dma, read, write, kinds } = await open(options);
    const page = dma.allocCoherent(4096);
    const block = dma.createPool('p', { size: 64 }).alloc()!;
    const mapping = dma.mapSingle(page.bytes, 'to-device');
    for (let i = 0; i < 3; i++) {
      page.bytes.fill(i);
      block.bytes.fill(i);
      write(page.dmaAddress, 4096);
      read(block.dmaAddress, 64);
      write(block.dmaAddress, 64);
      read(mapping.dmaAddress, 4096);
    }
    mapping.syncForDevice();
    mapping.unmap();
    expect(kinds()).toEqual([]);
  });

  it('counts turns byte by byte', async () => {
    const { dma, read, write, kinds, message } = await open(options);
    const bytes = new Uint8Array(300);
    const mapping = dma.mapSingle(bytes, 'bidirectional');
    const { dmaAddress } = mapping;
    mapping.syncForCpu(100, 100);
    bytes[100] = 1;
    bytes[199] = 1;
    read(dmaAddress, 100);
    write(dmaAddress + 200n, 100);
    expect(kinds()).toEqual([]);
    write(dmaAddress + 199n, 1);
    expect(kinds()).toEqual(['device-wrote-unowned']);
    expect(message()).toMatch(/byte 199 of a mapping of 300 bytes/);
    mapping.syncForCpu(199, 1);
    bytes[199] = 2;
    mapping.syncForDevice(100, 50);
    read(dmaAddress, 150);
    expect(kinds()).toEqual([]);
    read(dmaAddress, 300);
    expect(kinds()).toEqual(['not-synced-for-device']);
    mapping.syncForDevice(150, 50);
    read(dmaAddress + 100n, 100);
    mapping.syncForCpu();
    mapping.unmap();
    expect(kinds()).toEqual([]);
  });

  it('knows what the device wrote from what the CPU wrote', async () => {
    const { dma, write, kinds, message } = await open(options);
    for (const size of [300, 64 * 1024]) {
      const bytes = new Uint8Array(size);
      const mapping = dma.mapSingle(bytes, 'from-device');
      write(mapping.dmaAddress + 10n, 100);
      write(mapping.dmaAddress + 50n, 100, 0xbb);
      mapping.syncForCpu(0, 200);
      mapping.syncForDevice(0, 200);
      write(mapping.dmaAddress, 100, 0xcc);
      mapping.syncForCpu();
      mapping.syncForDevice();
      expect(kinds()).toEqual([]);
      bytes[20] = 7;
      bytes[22] = 7;
      mapping.unmap();
      expect(kinds()).toEqual(['cpu-wrote-while-device-owned']);
      expect(message()).toMatch(/wrote 2 bytes from offset 20 on/);
    }
  });

  it('finds what the CPU wrote before the device overwrites it', async () => {
    const { dma, write, kinds } = await open(options);
    const bytes = new Uint8Array(64 * 1024);
    const mapping = dma.mapSingle(bytes, 'from-device');
    bytes[4096] = 1;
    write(mapping.dmaAddress + 4096n, 4096);
    expect(kinds()).toEqual(['cpu-wrote-while-device-owned']);
    mapping.unmap();
    expect(kinds(), 'once').toEqual([]);
  });

  it('lets a driver write and hand over in one step what the device only reads', async () => {
    const { dma, read, kinds } = await open(options);
    const bytes = new Uint8Array(300);
    const mapping = dma.mapSingle(bytes, 'to-device');
    bytes.fill(1);
    mapping.syncForDevice();
    read(mapping.dmaAddress, 300);
    expect(kinds()).toEqual([]);
    bytes.fill(2);
    read(mapping.dmaAddress, 300);
    expect(kinds()).toEqual(['cpu-wrote-while-device-owned']);
    mapping.unmap();
  });

  it('does not let it where the device writes', async () => {
    const { dma, kinds } = await open(options);
    for (const direction of ['bidirectional', 'from-device'] as const) {
      const bytes = new Uint8Array(300);
      const mapping = dma.mapSingle(bytes, direction);
      bytes.fill(1);
      mapping.syncForDevice();
      expect(kinds()).toEqual(['cpu-wrote-while-device-owned']);
      mapping.unmap();
    }
  });

  it('finds the elements of a list', async () => {
    const { dma, read, write, kinds, message } = await open(options);
    const views = [
      new Uint8Array(100),
      dma.allocNoncoherent(5000, 'bidirectional').bytes,
      new Uint8Array(64),
    ];
    const list = dma.mapSg(views, 'bidirectional');
    for (const { dmaAddress, length } of list.segments) write(dmaAddress, length);
    list.syncForCpu();
    views[1]![4999] = 1;
    list.syncForDevice();
    for (const { dmaAddress, length } of list.segments) read(dmaAddress, length);
    expect(kinds()).toEqual([]);
    views[2]![3] = 1;
    list.unmap();
    expect(kinds()).toEqual(['cpu-wrote-while-device-owned']);
    expect(message()).toMatch(/1 byte from offset 3 on of an element of a mapped list of 64 bytes/);
  });

  it('asks the driver to take what the device wrote before it gives it back', async () => {
    const { dma, write, kinds, message } = await open(options);
    const mapping = dma.mapSingle(new Uint8Array(300), 'from-device');
    write(mapping.dmaAddress + 40n, 10);
    mapping.syncForCpu(0, 40);
    mapping.syncForDevice(0, 40);
    expect(kinds()).toEqual([]);
    mapping.syncForDevice();
    expect(kinds()).toEqual(['not-synced-for-cpu']);
    expect(message()).toMatch(/10 bytes from offset 40 on/);
    mapping.unmap();
  });

  it('finds noncoherent memory that the device wrote twice and nobody ever took', async () => {
    const { dma, write, kinds } = await open(options);
    for (const [times, expected] of [
      [1, []],
      [2, ['not-synced-for-cpu']],
    ] as const) {
      const buffer = dma.allocNoncoherent(64, 'from-device');
      buffer.syncForDevice();
      for (let i = 0; i < times; i++) write(buffer.dmaAddress, 64);
      buffer.free();
      expect(kinds()).toEqual(expected);
    }
  });

  it('lets a mapping of noncoherent memory speak for it', async () => {
    const { dma, write, kinds } = await open(options);
    const buffer = dma.allocNoncoherent(64, 'from-device');
    const mapping = dma.mapSingle(buffer.bytes, 'from-device');
    for (let i = 0; i < 3; i++) write(mapping.dmaAddress, 64);
    mapping.unmap();
    buffer.free();
    expect(kinds()).toEqual([]);
  });

  it('follows noncontiguous memory as well', async () => {
    const { dma, read, write, kinds } = await open(options);
    const buffer = dma.allocNoncontiguous(10_000, 'bidirectional');
    const { dmaAddress } = buffer;
    read(dmaAddress, 10);
    expect(kinds()).toEqual(['device-read-unowned']);
    buffer.syncForDevice();
    read(dmaAddress, 10_000);
    write(dmaAddress + 5000n, 5000);
    buffer.syncForCpu(5000, 5000);
    write(dmaAddress, 5000);
    expect(kinds()).toEqual([]);
    write(dmaAddress + 4999n, 2);
    expect(kinds()).toEqual(['device-wrote-unowned']);
    buffer.free();
    write(dmaAddress, 1);
    expect(kinds()).toEqual(['freed-while-device-uses']);
  });

  it('tells free blocks from those that were freed', async () => {
    const { dma, read, write, kinds, message } = await open(options);
    const pool = dma.createPool('p', { size: 64 });
    const block = pool.alloc()!;
    const address = block.dmaAddress;
    write(address + 64n, 64);
    expect(kinds()).toEqual(['device-wrote-unowned']);
    expect(message()).toMatch(/a pool block of 64 bytes .* that is free/);
    write(address, 65);
    expect(kinds()).toEqual(['device-outside-mapping']);
    block.free();
    for (let i = 0; i < 3; i++) read(address + 8n, 8);
    expect(kinds()).toEqual(['freed-while-device-uses']);
    expect(message()).toMatch(/bytes 8 to 15 of a pool block .* after it was freed/);
  });

  it('knows slots that nobody has mapped', async () => {
    const { dma, write, kinds, message } = await open(options);
    const mapping = dma.mapSingle(new Uint8Array(100), 'from-device');
    write(mapping.dmaAddress + 100n, 1);
    expect(kinds()).toEqual(['device-outside-mapping']);
    write(mapping.dmaAddress - 65_536n, 1);
    expect(kinds()).toEqual(['device-wrote-unowned']);
    expect(message()).toMatch(/in a bounce slot without a mapping/);
    mapping.unmap();
  });

  it('says nothing twice of one mapping', async () => {
    const { dma, write, kinds } = await open(options);
    for (let turn = 0; turn < 2; turn++) {
      const mapping = dma.mapSingle(new Uint8Array(100), 'to-device');
      for (let i = 0; i < 5; i++) write(mapping.dmaAddress, 200);
      expect(kinds()).toEqual(['device-wrong-direction', 'device-outside-mapping']);
      mapping.unmap();
    }
  });

  it('finds an access that is only in part where it may be', async () => {
    const { dma, read, write, kinds } = await open(options);
    const [first, second] = [0, 1].map(() => dma.mapSingle(new Uint8Array(100), 'bidirectional'));
    const higher = first!.dmaAddress > second!.dmaAddress ? first! : second!;
    write(higher.dmaAddress, 100);
    expect(kinds()).toEqual([]);
    write(higher.dmaAddress, 101);
    expect(kinds()).toEqual(['device-outside-mapping']);
    first!.unmap();
    second!.unmap();
    const third = dma.mapSingle(new Uint8Array(100), 'bidirectional');
    const fourth = dma.mapSingle(new Uint8Array(100), 'bidirectional');
    const later = third.dmaAddress > fourth.dmaAddress ? third : fourth;
    read(later.dmaAddress - 1n, 2);
    expect(kinds()).toEqual(['device-outside-mapping']);
  });

  it('does not take one mapping for another that had its record', async () => {
    const { dma, kinds } = await open(options);
    const page = dma.allocCoherent(64);
    for (let i = 0; i < 1500; i++) dma.mapSingle(new Uint8Array(64), 'to-device').unmap();
    for (let i = 0; i < 3000; i++) dma.mapSingle(page.bytes, 'to-device').unmap();
    const all = [0, 1, 2].map(() => new Uint8Array(64));
    const live = all.map((bytes) => dma.mapSingle(bytes, 'to-device'));
    for (const bytes of all) bytes[0] = 1;
    for (const mapping of live) mapping.unmap();
    expect(kinds().length).toBe(3);
  });

  it('says nothing twice of one list, and nothing of coherent memory in it', async () => {
    const { dma, kinds } = await open(options);
    const page = dma.allocCoherent(64);
    const views = [new Uint8Array(64), new Uint8Array(64)];
    const list = dma.mapSg(views, 'to-device');
    for (const view of views) view[0] = 1;
    list.unmap();
    expect(kinds()).toEqual(['cpu-wrote-while-device-owned']);
    const own = dma.mapSg([page.bytes], 'to-device');
    page.bytes[0]! += 1;
    own.unmap();
    expect(kinds()).toEqual([]);
  });

  it('lets the CPU write to coherent memory that is copied', async () => {
    const { dma, kinds } = await open(options, {
      debug: { print: false },
      streaming: { bounce: { force: true } },
    });
    dma.mapSingle(new Uint8Array(64), 'bidirectional');
    const page = dma.allocCoherent(64);
    const mapping = dma.mapSingle(page.bytes, 'bidirectional');
    page.bytes[0]! += 1;
    mapping.unmap();
    const list = dma.mapSg([page.bytes], 'bidirectional');
    page.bytes[0]! += 1;
    list.unmap();
    expect(kinds()).toEqual([]);
  });

  it('says nothing of a buffer that was detached', async () => {
    const { dma, kinds } = await open(options);
    const bytes = new Uint8Array(100);
    const mapping = dma.mapSingle(bytes, 'to-device');
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    mapping.unmap();
    expect(kinds()).toEqual([]);
  });

  it('does not look at contents when it is told not to', async () => {
    const { dma, write, kinds } = await open(options, { debug: { print: false, contents: false } });
    const bytes = new Uint8Array(100);
    const mapping = dma.mapSingle(bytes, 'to-device');
    bytes[0] = 1;
    write(mapping.dmaAddress, 1);
    mapping.unmap();
    expect(kinds()).toEqual(['device-wrong-direction']);
  });
});

describe('debugging a simulated device', () => {
  it('asks for the syncs that DMA_ATTR.SKIP_CPU_SYNC leaves to the driver, where they matter', async () => {
    const { dma, read, kinds } = await open({ coherent: false });
    const mapping = dma.mapSingle(new Uint8Array(100), 'to-device', DMA_ATTR.SKIP_CPU_SYNC);
    read(mapping.dmaAddress, 100);
    expect(kinds()).toEqual(['device-read-unowned']);
    mapping.syncForDevice();
    read(mapping.dmaAddress, 100);
    mapping.unmap();
    expect(kinds()).toEqual([]);
    const list = dma.mapSg([new Uint8Array(100)], 'to-device', DMA_ATTR.SKIP_CPU_SYNC);
    read(list.segments[0]!.dmaAddress, 100);
    expect(kinds()).toEqual(['device-read-unowned']);
    list.unmap();
    const coherent = await open();
    const other = coherent.dma.mapSingle(new Uint8Array(100), 'to-device', DMA_ATTR.SKIP_CPU_SYNC);
    coherent.read(other.dmaAddress, 100);
    other.unmap();
    expect(coherent.kinds()).toEqual([]);
  });

  it('takes a sync of one mapping for all that share its bytes, whichever was made first', async () => {
    const { dma, read, kinds } = await open({ coherent: false });
    const bytes = foreignPages(dma, 16);
    for (const order of ['skipping first', 'skipping last']) {
      const skip = () => dma.mapSingle(bytes, 'to-device', DMA_ATTR.SKIP_CPU_SYNC);
      const sync = () => dma.mapSingle(bytes, 'to-device');
      const [first, second] = order === 'skipping first' ? [skip(), sync()] : [sync(), skip()];
      for (const mapping of [first, second]) read(mapping.dmaAddress, bytes.length);
      for (const mapping of [first, second]) mapping.unmap();
      expect(kinds(), order).toEqual([]);
    }
  });

  it('knows what is linked into reserved addresses', async () => {
    const { dma, read, write, kinds, message } = await open();
    const page = dma.allocCoherent(4096);
    const range = dma.reserveIova(3 * 4096)!;
    range.link(4096, page.bytes, 'to-device');
    read(range.dmaAddress + 4096n, 4096);
    expect(kinds()).toEqual(['iova-not-synced']);
    range.sync(4096, 4096);
    read(range.dmaAddress + 4096n, 4096);
    expect(kinds()).toEqual([]);
    write(range.dmaAddress + 4096n, 1);
    expect(kinds()).toEqual(['device-wrong-direction']);
    read(range.dmaAddress + 8190n, 4);
    expect(kinds()).toEqual(['device-read-unowned']);
    expect(message()).toMatch(/where nothing is linked/);
    const address = range.dmaAddress;
    range.destroy();
    read(address, 4);
    expect(kinds()).toEqual(['device-after-release']);
  });

  it('recognises an address without its high bits', async () => {
    const { dma, write, kinds, message } = await open({ iommu: false });
    dma.setMaskAndCoherent(dmaBitMask(40));
    const page = dma.allocCoherent(4096);
    expect(page.high).toBeGreaterThan(0);
    write(BigInt(page.low) + 4n, 4);
    expect(kinds()).toEqual(['device-wrote-unowned']);
    expect(message()).toMatch(/has these low 32 bits: tell the device all of an address/);
  });

  it('takes addresses that no number can hold', async () => {
    const { read, kinds } = await open();
    read(2n ** 64n - 8n, 8);
    expect(kinds()).toEqual(['device-read-unowned']);
  });

  it('sees what the IOMMU refuses although the driver did nothing wrong', async () => {
    const { dma, read, kinds, message } = await open();
    const big = new Uint8Array(64 * 1024);
    const mapping = dma.mapSingle(big, 'to-device');
    expect(mapping.way).toBe('pinned');
    structuredClone(big.buffer, { transfer: [big.buffer] });
    read(mapping.dmaAddress + 4096n, 64);
    expect(kinds()).toEqual(['iommu-fault']);
    expect(message()).toMatch(/the IOMMU refused: buffer detached/);
    expect(() => mapping.unmap()).not.toThrow();
  });

  it('names the mapping when bus mastering is off, and lost interrupts once', async () => {
    const { fn, dma, write, kinds, message } = await open();
    const mapping = dma.mapSingle(new Uint8Array(100), 'from-device');
    fn.clearMaster();
    write(mapping.dmaAddress, 100);
    expect(kinds()).toEqual(['no-bus-master']);
    expect(message()).toMatch(/bytes 0 to 99 of a mapping of 100 bytes/);
    write(0x1000n, 4);
    write(mapping.dmaAddress, 100);
    expect(kinds()).toEqual([]);
    mapping.unmap();
  });

  it('is not there without debugging', async () => {
    const model = new RecordingModel();
    const fn = await openPci(simulate(model), { debug: false });
    fn.setMaster();
    model.bus.dmaRead(0x1000n, new Uint8Array(4));
    expect(fn.dma.debug).toBeUndefined();
  });
});
