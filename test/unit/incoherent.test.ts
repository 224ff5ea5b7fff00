/** A device that does not see the CPU's caches: what a correct driver does works, what it forgets shows. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { DmaDirection } from '../../lib/direction.ts';
import { DMA_ATTR } from '../../lib/dma/words/attributes.ts';
import { openPci, type PciFunction } from '../../lib/index.ts';
import type { Coherence } from '../../lib/memory/source.ts';
import { SimulatedCache } from '../../lib/sim/cache.ts';
import { type SimulatedSource, type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { expectCode, RecordingModel } from './sim-fixture.ts';

const PAGE = 4096;
const LINE = 64;
const POISON = 0xdb;

function pattern(size: number, seed = 1): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: size }, (_, i) => (i * 7 + seed) % 199);
}

describe('the simulated cache', () => {
  let cpu: Uint8Array<ArrayBuffer>;
  let device: Uint8Array;
  let cache: SimulatedCache;

  const newCache = (lineSize?: number, offset = 0): void => {
    const coherenceOf = (): Coherence | undefined => undefined;
    const pageOffset = (): number => offset;
    cache = new SimulatedCache({ coherenceOf, pageOffset, ...(lineSize !== undefined && { lineSize }) });
    cpu = new Uint8Array(4 * LINE);
    device = cache.deviceView(cpu.buffer, 0, cpu.buffer.byteLength);
  };
  const clean = (offset: number, size: number): void => cache.syncForDevice(cpu.buffer, offset, size);
  const invalidate = (offset: number, size: number, direction: DmaDirection = 'from-device'): void =>
    cache.syncForCpu(cpu.buffer, offset, size, direction);

  beforeEach(() => newCache());

  it('shows the device nothing that was not cleaned', () => {
    cpu.fill(1);
    expect(device.every((byte) => byte === POISON)).toBe(true);
    clean(LINE, LINE);
    expect([device[LINE - 1], device[LINE], device[2 * LINE - 1], device[2 * LINE]]).toEqual([
      POISON,
      1,
      1,
      POISON,
    ]);
  });

  it('shows the CPU nothing that was not invalidated', () => {
    clean(0, cpu.length);
    device.fill(2);
    expect(cpu.every((byte) => byte === 0)).toBe(true);
    invalidate(LINE, LINE, 'to-device');
    expect(cpu.every((byte) => byte === 0)).toBe(true);
    invalidate(LINE, LINE);
    expect([cpu[LINE - 1], cpu[LINE], cpu[2 * LINE - 1], cpu[2 * LINE]]).toEqual([0, 2, 2, 0]);
  });

  it.each([
    [0, 1, 0, LINE],
    [LINE - 1, 1, 0, LINE],
    [LINE - 1, 2, 0, 2 * LINE],
    [LINE, LINE, LINE, 2 * LINE],
    [LINE + 1, 2 * LINE, LINE, 4 * LINE],
    [4 * LINE - 1, 1, 3 * LINE, 4 * LINE],
  ])('works on whole lines: %i + %i', (offset, size, from, to) => {
    cpu.fill(1);
    clean(offset, size);
    expect([...device]).toEqual(Array.from(device, (_, i) => (i >= from && i < to ? 1 : POISON)));
    device.fill(2);
    invalidate(offset, size);
    expect([...cpu]).toEqual(Array.from(cpu, (_, i) => (i >= from && i < to ? 2 : 1)));
  });

  it('writes back dirty lines only: what the device wrote meanwhile survives a cleaning of nothing', () => {
    clean(0, cpu.length);
    device[3] = 9;
    clean(0, cpu.length);
    expect(device[3]).toBe(9);
    cpu[LINE - 1] = 5;
    clean(0, 1);
    expect([device[3], device[LINE - 1]]).toEqual([0, 5]);
  });

  it('throws away what the CPU wrote to a line that is invalidated whole', () => {
    clean(0, cpu.length);
    cpu[3] = 5;
    device[4] = 9;
    invalidate(0, LINE);
    expect([cpu[3], cpu[4]]).toEqual([0, 9]);
  });

  it('keeps what the CPU wrote to a line that is invalidated in part, at the expense of the device', () => {
    clean(0, cpu.length);
    cpu[LINE - 1] = 5;
    device[4] = 9;
    invalidate(0, LINE - 1);
    expect([cpu[LINE - 1], cpu[4], device[4]]).toEqual([5, 0, 0]);
  });

  it('counts lines from where memory starts them', () => {
    newCache(LINE, 16);
    cpu.fill(1);
    clean(0, 1);
    expect([device[LINE - 17], device[LINE - 16]]).toEqual([1, POISON]);
    clean(2 * LINE - 16, 1);
    expect([
      device[2 * LINE - 17],
      device[2 * LINE - 16],
      device[3 * LINE - 17],
      device[3 * LINE - 16],
    ]).toEqual([POISON, 1, 1, POISON]);
  });

  it('knows other line sizes', () => {
    newCache(128);
    cpu.fill(1);
    clean(LINE, 1);
    expect([device[0], device[127], device[128]]).toEqual([1, 1, POISON]);
    for (const size of [0, 48, -64, Number.NaN]) expectCode('EINVAL', () => newCache(size));
  });

  it.each([0, 16, 60])(
    'does to each line what its rules say, lines starting %i bytes before the buffer',
    (lead) => {
      newCache(LINE, lead);
      const lines = Array.from({ length: cpu.length }, (_, at) => Math.floor((at + lead) / LINE));
      const cpuModel = new Uint8Array(cpu.length);
      const deviceModel = new Uint8Array(cpu.length).fill(POISON);
      const cleanModel = deviceModel.slice();
      /** Bytes of the lines that hold [offset, offset + size), line by line. */
      const touched = (offset: number, size: number): number[][] => {
        const numbers = new Set(lines.slice(offset, offset + size));
        return [...numbers].map((line) => lines.flatMap((other, at) => (other === line ? [at] : [])));
      };
      const cleanLine = (line: number[]): void => {
        if (line.every((at) => cpuModel[at] === cleanModel[at])) return;
        for (const at of line) deviceModel[at] = cleanModel[at] = cpuModel[at]!;
      };
      let seed = lead + 1;
      const below = (limit: number): number => {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        return (seed >>> 8) % limit;
      };
      for (let step = 0; step < 5000; step++) {
        const offset = below(cpu.length);
        const size = 1 + below(cpu.length - offset);
        const value = below(256);
        const what = below(4);
        if (what === 0) cpu[offset] = cpuModel[offset] = value;
        if (what === 1) device[offset] = deviceModel[offset] = value;
        if (what === 2) {
          clean(offset, size);
          for (const line of touched(offset, size)) cleanLine(line);
        }
        if (what === 3) {
          invalidate(offset, size);
          for (const line of touched(offset, size)) {
            const first = lines[line[0]!]! * LINE - lead;
            if (first < offset || first + LINE > offset + size) cleanLine(line);
            for (const at of line) cpuModel[at] = cleanModel[at] = deviceModel[at]!;
          }
        }
        const same = Buffer.compare(cpu, cpuModel) === 0 && Buffer.compare(device, deviceModel) === 0;
        if (!same) expect.fail(`step ${step}: ${what} of ${size} bytes at ${offset}`);
      }
    },
  );

  it('leaves a detached buffer alone', () => {
    structuredClone(cpu.buffer, { transfer: [cpu.buffer] });
    clean(0, LINE);
    invalidate(0, LINE);
    expect(device[0]).toBe(POISON);
  });
});

const worlds: readonly [string, SimulateOptions][] = [
  ['with an IOMMU', {}],
  ['without an IOMMU', { iommu: false }],
];

describe.each(worlds)('a driver of a device that is not coherent, %s', (_name, world) => {
  let source: SimulatedSource<RecordingModel>;
  let fn: PciFunction;

  beforeEach(async () => {
    source = simulate(new RecordingModel(), { ...world, coherent: false });
    fn = await openPci(source);
    fn.setMaster();
    return () => {
      fn.close();
      expect(source.faults).toEqual([]);
    };
  });

  /** Quicker than toEqual by orders of magnitude. */
  const same = (actual: Uint8Array, expected: Uint8Array): boolean => Buffer.compare(actual, expected) === 0;
  const deviceReads = (address: bigint, size: number): Uint8Array => {
    const into = new Uint8Array(size);
    source.model.bus.dmaRead(address, into);
    return into;
  };
  const deviceWrites = (address: bigint, bytes: Uint8Array): boolean =>
    source.model.bus.dmaWrite(address, bytes);

  it('needs no sync for coherent memory and pools', () => {
    const block = fn.dma.createPool('descriptors', { size: 32 }).alloc()!;
    for (const { bytes, dmaAddress } of [fn.dma.allocCoherent(100), block]) {
      bytes.set(pattern(32));
      expect(deviceReads(dmaAddress, 32)).toEqual(pattern(32));
      deviceWrites(dmaAddress, pattern(32, 50));
      expect(new Uint8Array(bytes.subarray(0, 32))).toEqual(pattern(32, 50));
    }
    const mapping = fn.dma.mapSingle(block.bytes, 'bidirectional');
    expect([mapping.way, mapping.needSync]).toEqual(['arithmetic', false]);
  });

  it('says how far apart buffers should be', async () => {
    expect(fn.dma.limits.cacheAlignment).toBe(64);
    using wide = await openPci(simulate(new RecordingModel(), { coherent: false, lineSize: 128 }));
    expect(wide.dma.limits.cacheAlignment).toBe(128);
    using coherent = await openPci(simulate(new RecordingModel()));
    expect(coherent.dma.limits.cacheAlignment).toBe(1);
  });

  it('has to hand over noncoherent memory in each direction', () => {
    const buffer = fn.dma.allocNoncoherent(PAGE, 'bidirectional');
    buffer.bytes.set(pattern(PAGE));
    expect(deviceReads(buffer.dmaAddress, PAGE)).not.toEqual(pattern(PAGE));
    buffer.syncForDevice();
    expect(deviceReads(buffer.dmaAddress, PAGE)).toEqual(pattern(PAGE));
    deviceWrites(buffer.dmaAddress, pattern(PAGE, 50));
    expect(buffer.bytes).toEqual(pattern(PAGE));
    buffer.syncForCpu();
    expect(buffer.bytes).toEqual(pattern(PAGE, 50));
  });

  it.each([100, 60_000])(
    'works with streaming mappings of %i bytes, and fails where a sync is forgotten',
    (size) => {
      const data = pattern(size);
      const mapping = fn.dma.mapSingle(data, 'bidirectional');
      expect(mapping.needSync).toBe(true);
      expect(same(deviceReads(mapping.dmaAddress, size), pattern(size))).toBe(true);

      data.set(pattern(size, 20));
      expect(same(deviceReads(mapping.dmaAddress, size), pattern(size))).toBe(true);
      mapping.syncForDevice();
      expect(same(deviceReads(mapping.dmaAddress, size), pattern(size, 20))).toBe(true);

      deviceWrites(mapping.dmaAddress, pattern(size, 50));
      expect(same(data, pattern(size, 20))).toBe(true);
      mapping.syncForCpu();
      expect(same(data, pattern(size, 50))).toBe(true);

      deviceWrites(mapping.dmaAddress, pattern(size, 80));
      expect(same(data, pattern(size, 50))).toBe(true);
      mapping.unmap();
      expect(same(data, pattern(size, 80))).toBe(true);
    },
  );

  it('shows a device nothing that was bounced without a sync', () => {
    const mapping = fn.dma.mapSingle(pattern(100), 'to-device', DMA_ATTR.SKIP_CPU_SYNC);
    expect(mapping.way).toBe('bounced');
    expect(deviceReads(mapping.dmaAddress, 100)).not.toEqual(pattern(100));
    mapping.syncForDevice();
    expect(deviceReads(mapping.dmaAddress, 100)).toEqual(pattern(100));
  });

  it('shows a device nothing that an earlier mapping left in the bounce buffer', () => {
    const secret = fn.dma.mapSingle(new Uint8Array(2000).fill(0xaa), 'to-device');
    const { dmaAddress } = secret;
    secret.unmap();
    const mapping = fn.dma.mapSingle(new Uint8Array(10).fill(0xbb), 'to-device');
    expect(mapping.dmaAddress).toBe(dmaAddress);
    const expected = new Uint8Array(2048).fill(0xbb, 0, 10);
    expect(deviceReads(dmaAddress, 2048)).toEqual(expected);
  });

  it('keeps the neighbours of what it maps, wherever that starts', () => {
    for (const size of [1, 63, 64, 100, 40_000]) {
      for (const offset of [0, 1, 63, 64, 4080, 4095, 4096]) {
        const buffer = pattern(offset + size + PAGE);
        const before = buffer.slice();
        const mapping = fn.dma.mapSingle(buffer.subarray(offset, offset + size), 'from-device');
        buffer[offset + size] = 250;
        if (offset > 0) buffer[offset - 1] = 251;
        deviceWrites(mapping.dmaAddress, pattern(size, 50));
        mapping.unmap();
        before.set(pattern(size, 50), offset);
        before[offset + size] = 250;
        if (offset > 0) before[offset - 1] = 251;
        expect(same(buffer, before), `${size} bytes at ${offset}`).toBe(true);
      }
    }
  });

  it('loses what shares a cache line in memory that it carves itself', () => {
    const buffer = fn.dma.allocNoncoherent(PAGE, 'bidirectional');
    const input = fn.dma.mapSingle(buffer.bytes.subarray(0, 32), 'from-device');
    deviceWrites(input.dmaAddress, pattern(32));
    // A counter beside the buffer: the line is dirty, and written back over what the device wrote.
    buffer.bytes[40] = 1;
    input.unmap();
    expect(new Uint8Array(buffer.bytes.subarray(0, 32))).toEqual(new Uint8Array(32));

    const apart = fn.dma.mapSingle(buffer.bytes.subarray(LINE, LINE + 32), 'from-device');
    deviceWrites(apart.dmaAddress, pattern(32));
    buffer.bytes[40] = 2;
    apart.unmap();
    expect(new Uint8Array(buffer.bytes.subarray(LINE, LINE + 32))).toEqual(pattern(32));
  });

  it('destroys a transfer by mapping a neighbour in the same line', () => {
    const buffer = fn.dma.allocNoncoherent(PAGE, 'bidirectional');
    const input = fn.dma.mapSingle(buffer.bytes.subarray(0, 32), 'from-device');
    buffer.bytes.fill(7, 32, 64);
    deviceWrites(input.dmaAddress, pattern(32));
    const output = fn.dma.mapSingle(buffer.bytes.subarray(32, 64), 'to-device');
    input.unmap();
    output.unmap();
    expect(new Uint8Array(buffer.bytes.subarray(0, 32))).toEqual(new Uint8Array(32));
  });

  it('lives on when a mapped buffer is taken away', () => {
    const data = pattern(60_000);
    const mapping = fn.dma.mapSingle(data, 'from-device');
    structuredClone(data.buffer, { transfer: [data.buffer] });
    expectCode('EINVAL', () => mapping.unmap());
    expect(mapping.mapped).toBe(false);
  });
});

describe('memory of the program on the simulation', () => {
  const wayOf = async (options: SimulateOptions, size = 60_000): Promise<string> => {
    using fn = await openPci(simulate(new RecordingModel(), options));
    return fn.dma.mapSingle(new Uint8Array(size), 'to-device').way;
  };

  it('is mapped in place when it is large, unless there is no IOMMU or it is told not to', async () => {
    expect(await wayOf({})).toBe('pinned');
    expect(await wayOf({}, 100)).toBe('bounced');
    expect(await wayOf({ pinsForeignMemory: false })).toBe('bounced');
    expect(await wayOf({ iommu: false })).toBe('bounced');
  });

  it('starts where V8 may put it: in the middle of a page', async () => {
    for (const [options, low] of [
      [{}, 16n],
      [{ foreignPageOffset: 0 }, 0n],
      [{ foreignPageOffset: 4095 }, 4095n],
    ] as const) {
      using fn = await openPci(simulate(new RecordingModel(), options));
      expect(fn.dma.mapSingle(new Uint8Array(60_000), 'to-device').dmaAddress & 0xfffn).toBe(low);
      expect(fn.dma.allocCoherent(100).dmaAddress & 0xfffn).toBe(0n);
    }
    for (const foreignPageOffset of [-1, 4096, 1.5]) {
      await expect(openPci(simulate(new RecordingModel(), { foreignPageOffset }))).rejects.toMatchObject({
        code: 'EINVAL',
      });
    }
  });
});
