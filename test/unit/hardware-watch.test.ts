/** What dma-debug can know of real hardware, tried where the hardware is simulated. */
import { describe, expect, it } from 'vitest';
import { hardwareObservers } from '../../lib/debug/create.ts';
import { DebugDmaDevice } from '../../lib/debug/device.ts';
import { HardwareWatch } from '../../lib/debug/hardware-watch.ts';
import { DMA_ATTR, type DmaDevice, type DmaReport } from '../../lib/index.ts';
import type { Fault } from '../../lib/iommu/fault.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';

interface Opened {
  readonly dma: DmaDevice;
  readonly faults: Fault[];
  write(address: bigint, size: number): void;
  /** Reports since the last call. */
  reports(): DmaReport[];
}

function open(mostCopied?: number): Opened {
  const memory = new HeapMemory();
  const pageOffset = (buffer: ArrayBufferLike) => (memory.coherenceOf(buffer) === undefined ? 16 : 0);
  const addressSpace = new SimulatedAddressSpace({ pageOffset });
  const faults: Fault[] = [];
  const observe = hardwareObservers(() => ({ faults: () => faults.splice(0), close: () => {} }));
  const dma = new DebugDmaDevice({ name: 'device', memory, addressSpace }, { print: false }, (device) => {
    const observers = observe(device);
    if (mostCopied === undefined) return observers;
    return { ...observers, watch: new HardwareWatch(device.debug, device.memory, mostCopied) };
  });
  const { debug } = dma;
  return {
    dma,
    faults,
    write: (address, size) => addressSpace.write(address, new Uint8Array(size).fill(0xaa)),
    reports() {
      const made = [...debug.reports];
      debug.clear();
      return made;
    },
  };
}

/** One device in both parts. */
const twice = (one: Opened): [Opened, Opened] => [one, one];

const WAYS = [
  ['to-device', 300, 'bounced'],
  ['bidirectional', 300, 'bounced'],
  ['from-device', 300, 'bounced'],
  ['to-device', 40_000, 'pinned'],
] as const;

describe('debugging hardware', () => {
  it.each(WAYS)(
    'finds what the CPU wrote to memory that is lent %s, %i bytes, %s',
    (direction, size, way) => {
      const { dma, reports } = open();
      const bytes = new Uint8Array(size);
      const take = () => {
        const mapping = dma.mapSingle(bytes, direction);
        expect(mapping.way).toBe(way);
        return mapping;
      };
      take().unmap();
      const early = take();
      bytes[7]! += 1;
      early.unmap();
      const [report, ...more] = reports();
      expect(more).toEqual([]);
      expect(report).toMatchObject({ kind: 'cpu-wrote-while-device-owned', size, direction });
      expect(report!.mappedAt).toContain('take');
      expect(report!.mistakeAt).toContain('hardware-watch.test');
      if (direction === 'to-device' && way === 'bounced') expect(report!.message).toMatch(/from offset 7 on/);
    },
  );

  it('does not blame the CPU alone for a copy that the device wrote, by a mapping of the wrong direction', () => {
    const { dma, reports, write } = open();
    const mapping = dma.mapSingle(new Uint8Array(300), 'to-device');
    write(mapping.dmaAddress, 300);
    mapping.unmap();
    expect(reports().map(({ message }) => message)).toEqual([
      expect.stringMatching(
        /the device's copy of it differ .*, or the device wrote to what it may only read; .* map it 'from-device' or 'bidirectional'$/,
      ),
    ]);
  });

  it.each(WAYS)('lets the CPU write in its turn: %s, %i bytes, %s', (direction, size) => {
    const { dma, reports } = open();
    const bytes = new Uint8Array(size);
    const mapping = dma.mapSingle(bytes, direction);
    mapping.syncForCpu(10, 20);
    bytes[10]! += 1;
    mapping.syncForDevice(10, 20);
    mapping.syncForCpu();
    bytes.fill(9);
    mapping.syncForDevice();
    expect(reports()).toEqual([]);
    bytes[0] = 1;
    mapping.syncForCpu();
    mapping.unmap();
    expect(reports().map(({ kind }) => kind)).toEqual(['cpu-wrote-while-device-owned']);
    const last = dma.mapSingle(bytes, direction);
    last.syncForCpu(10, 20);
    bytes[10]! += 1;
    last.unmap();
    expect(reports(), 'written in its turn, the last one').toEqual([]);
  });

  it('finds it by CRC where too much is lent to copy all of it, and forgets what is over', () => {
    const { dma, reports } = open(600);
    for (let round = 0; round < 3; round++) {
      const all = Array.from({ length: 5 }, () => new Uint8Array(300));
      const live = all.map((bytes) => dma.mapSingle(bytes, 'bidirectional'));
      for (const mapping of live) {
        mapping.syncForCpu();
        mapping.syncForDevice();
      }
      expect(reports()).toEqual([]);
      for (const bytes of all) bytes[299]! += 1;
      for (const mapping of live) mapping.unmap();
      const found = reports().map(({ message }) => /from offset 299/.test(message));
      expect(found).toEqual([true, false, false, false, false]);
    }
  });

  it('looks at one mapping after another, of any size and at any place', () => {
    const { dma, reports } = open();
    const sizes = [300, 300, 64, 3000, 64, 1, 300, 65, 4096, 300];
    const pairs = sizes.flatMap((size) =>
      (['to-device', 'from-device'] as const).map((way) => ({ size, way })),
    );
    for (const [turn, { size, way }] of [...pairs, ...pairs].entries()) {
      const bytes = new Uint8Array(size).fill(turn);
      const spare = dma.mapSingle(new Uint8Array(64 * (turn % 3) + 1), way);
      const mapping = dma.mapSingle(bytes, way);
      if (turn % 2 === 0) bytes[size - 1]! ^= 1;
      if (turn % 4 === 0) spare.unmap();
      mapping.unmap();
      if (turn % 4 !== 0) spare.unmap();
      expect(reports().length, `turn ${turn}`).toBe(turn % 2 === 0 ? 1 : 0);
    }
  });

  it('knows the turns of a part and of a list, and tells once', () => {
    const { dma, reports } = open();
    for (const direction of ['to-device', 'bidirectional'] as const) {
      const bytes = new Uint8Array(300);
      const mapping = dma.mapSingle(bytes, direction);
      mapping.syncForCpu(10, 20);
      mapping.syncForDevice(10, 20);
      expect(reports()).toEqual([]);
      bytes[0] = 1;
      mapping.syncForCpu(10, 20);
      expect(reports().length).toBe(1);
      mapping.syncForDevice(10, 20);
      bytes[1] = 1;
      mapping.unmap();
      expect(reports()).toEqual([]);
      const views = [new Uint8Array(100), new Uint8Array(200)];
      const list = dma.mapSg(views, direction);
      list.syncForCpu();
      views[1]![0] = 1;
      list.syncForDevice();
      list.syncForCpu();
      views[0]![0] = 1;
      list.unmap();
      expect(reports()).toEqual([]);
    }
  });

  it('does not take one mapping for another that had its record', () => {
    const { dma, reports } = open();
    const { bytes: own } = dma.allocCoherent(64);
    for (let i = 0; i < 1500; i++) dma.mapSingle(new Uint8Array(64), 'to-device').unmap();
    for (let i = 0; i < 3000; i++) dma.mapSingle(own, 'to-device').unmap();
    const all = [new Uint8Array(64), new Uint8Array(64), new Uint8Array(64)];
    const live = all.map((bytes) => dma.mapSingle(bytes, 'to-device'));
    for (const bytes of all) bytes[0] = 1;
    for (const mapping of live) mapping.unmap();
    expect(reports().length).toBe(3);
  });

  it('finds the copy also where it does not start with its slot', () => {
    const { dma, reports } = open();
    dma.limits.minAlignMask = 4095;
    const memory = new Uint8Array(5000);
    memory.set([1, 2, 3, 4], 100);
    const mapping = dma.mapSingle(memory.subarray(100, 400), 'to-device');
    expect(Number(mapping.dmaAddress) % 4096).not.toBe(0);
    mapping.unmap();
    expect(reports()).toEqual([]);
  });

  it('does not look at what is not copied anyway, and is long', () => {
    const { dma, reports } = open();
    for (const [size, direction, found] of [
      [65_536, 'to-device', 1],
      [65_537, 'to-device', 0],
      [20_000, 'bidirectional', 1],
      [40_000, 'bidirectional', 0],
    ] as const) {
      const bytes = new Uint8Array(size);
      const mapping = dma.mapSingle(bytes, direction);
      bytes[size >> 1] = 1;
      mapping.unmap();
      expect(reports().length, `${size} ${direction}`).toBe(found);
    }
  });

  it('takes nothing that the device wrote for the CPU', () => {
    const { dma, write, reports } = open();
    for (const size of [300, 40_000]) {
      for (const direction of ['bidirectional', 'from-device'] as const) {
        const mapping = dma.mapSingle(new Uint8Array(size), direction);
        write(mapping.dmaAddress + BigInt(size / 2), 150);
        mapping.syncForCpu();
        mapping.syncForDevice();
        write(mapping.dmaAddress + BigInt(size / 2), 100);
        mapping.unmap();
      }
    }
    expect(reports()).toEqual([]);
  });

  it('does not take for the CPU what a device writes through another mapping, of the same device or another', () => {
    for (const [first, second] of [twice(open()), [open(), open()]] as const) {
      for (const size of [300, 40_000]) {
        for (const direction of ['to-device', 'bidirectional'] as const) {
          const bytes = new Uint8Array(size);
          const lent = first.dma.mapSingle(bytes, direction);
          const other = second.dma.mapSingle(bytes, 'from-device', DMA_ATTR.SKIP_CPU_SYNC);
          second.write(other.dmaAddress, size);
          other.syncForCpu();
          other.unmap();
          lent.unmap();
          expect(first.reports().map(({ kind }) => kind)).toEqual([]);
          // The other way round, the writer is there first.
          const writer = second.dma.mapSingle(bytes, 'from-device');
          const reader = first.dma.mapSingle(bytes, 'to-device', DMA_ATTR.SKIP_CPU_SYNC);
          second.write(writer.dmaAddress, size);
          writer.unmap();
          reader.unmap();
          expect(first.reports()).toEqual([]);
          // On its own again it is watched again.
          const alone = first.dma.mapSingle(bytes, 'to-device');
          bytes[7]! ^= 1;
          alone.unmap();
          expect(first.reports().map(({ kind }) => kind)).toEqual(['cpu-wrote-while-device-owned']);
        }
      }
    }
  });

  it('does not look at coherent memory of another device, which that device writes at any time', () => {
    const [first, second] = [open(), open()];
    const { bytes } = second.dma.allocCoherent(40_000);
    const block = second.dma.createPool('blocks', { size: 300 }).alloc()!;
    for (const view of [bytes, bytes.subarray(0, 300), block.bytes]) {
      const mapping = first.dma.mapSingle(view, 'to-device');
      expect(mapping.way).not.toBe('arithmetic');
      view[0]! ^= 1;
      mapping.unmap();
    }
    expect(first.reports()).toEqual([]);
  });

  it('a mapping that its device was closed over is in the way of none', () => {
    const [first, second] = [open(), open()];
    const bytes = new Uint8Array(300);
    second.dma.mapSingle(bytes, 'from-device');
    second.dma.mapSg([bytes.subarray(0, 10), bytes.subarray(10)], 'from-device', DMA_ATTR.SKIP_CPU_SYNC);
    second.dma.close();
    const mapping = first.dma.mapSingle(bytes, 'to-device');
    bytes[0] = 1;
    mapping.unmap();
    expect(first.reports().map(({ kind }) => kind)).toEqual(['cpu-wrote-while-device-owned']);
  });

  it('looks at the elements of a list, and not at what was detached', () => {
    const { dma, reports } = open();
    const views = [new Uint8Array(100), new Uint8Array(200)];
    const list = dma.mapSg(views, 'to-device');
    views[1]![3] = 1;
    list.unmap();
    expect(reports().map(({ kind, type }) => `${kind} ${type}`)).toEqual([
      'cpu-wrote-while-device-owned scatter-gather',
    ]);
    const bytes = new Uint8Array(100);
    const mapping = dma.mapSingle(bytes, 'to-device');
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    mapping.unmap();
    expect(reports()).toEqual([]);
  });
});

describe('an IOMMU fault', () => {
  const at = (address: bigint, access: Fault['access'] = 'write', size = 4096): Fault => ({
    address,
    size,
    access,
    reason: 'PTE Write access is not set',
  });

  it('belongs to what forbids it, rather than to what is over', () => {
    const { dma, faults, reports } = open();
    dma.allocCoherent(4096).free();
    const buffer = dma.allocNoncoherent(4096, 'to-device');
    faults.push(at(buffer.dmaAddress), at(buffer.dmaAddress));
    const [report, ...more] = reports();
    expect(more).toEqual([]);
    expect(report).toMatchObject({ kind: 'iommu-fault', type: 'noncoherent', direction: 'to-device' });
    expect(report!.message).toMatch(/is there; map it 'from-device' or 'bidirectional'/);
    expect(report!.fault).toMatchObject({ access: 'write' });
  });

  it('belongs to what was there last, found by the page', () => {
    const { dma, faults, reports } = open();
    const bytes = new Uint8Array(40_000);
    const mapping = dma.mapSingle(bytes, 'to-device');
    const page = mapping.dmaAddress & ~0xfffn;
    expect(page).not.toBe(mapping.dmaAddress);
    mapping.unmap();
    faults.push(at(page, 'read'));
    const [report] = reports();
    expect(report).toMatchObject({ kind: 'iommu-fault', type: 'single' });
    expect(report!.message).toMatch(/was there until it was unmapped/);
    expect(report!.releasedAt).toContain('hardware-watch.test');
  });

  it('tells of a wrong direction, though the log is read after the mapping is over', () => {
    const { dma, faults, reports } = open();
    const mapping = dma.mapSingle(new Uint8Array(40_000), 'to-device');
    const page = mapping.dmaAddress & ~0xfffn;
    mapping.unmap();
    faults.push(at(page));
    const [{ message }] = reports() as [DmaReport];
    expect(message).toMatch(
      /was there until it was unmapped, and did not let the device write; map it 'from-device' or 'bidirectional'$/,
    );
    expect(message).not.toContain('keep it');
  });

  it('belongs to nothing where nothing was, and names what is closest', () => {
    const { dma, faults, reports } = open();
    faults.push(at(0x5000n));
    expect(reports()[0]!.message).toMatch(/it has been given nothing/);
    dma.allocCoherent(4096);
    faults.push(at(0x9000n), at(0x9000n), at(0xa000n, 'unknown'));
    const [first, second, ...more] = reports();
    expect(more).toEqual([]);
    expect(first!.message).toMatch(/a coherent buffer of 4096 bytes .* is \d+ bytes away/);
    expect(second!.message).toMatch(/the device read or wrote at 0xa000/);
  });

  it('is not looked for once the device is closed', () => {
    const { dma, faults, reports } = open();
    faults.push(at(0x5000n));
    dma.close();
    expect(reports().map(({ kind }) => kind)).toEqual(['iommu-fault']);
  });

  it('may be over: what is there now allows it', () => {
    const { dma, faults, reports } = open();
    const page = dma.allocCoherent(4096);
    faults.push(at(page.dmaAddress));
    expect(reports()[0]!.message).toMatch(/is there now; it came after the fault/);
  });
});
