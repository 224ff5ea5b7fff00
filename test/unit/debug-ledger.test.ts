/** What the ledger remembers, and for how long; whose stacks are kept; which mappings get in each other's way. */
import { describe, expect, it } from 'vitest';
import { DebugDmaDevice } from '../../lib/debug/device.ts';
import type { Entry } from '../../lib/debug/entry.ts';
import type { DebugOptions } from '../../lib/debug/options.ts';
import { captureSite, describeSite, Sampler } from '../../lib/debug/sites.ts';
import { SpanIndex } from '../../lib/debug/span-index.ts';
import { DMA_ATTR } from '../../lib/index.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { SimulatedCache } from '../../lib/sim/cache.ts';
import { SplitMix } from '../bench/random.ts';

function device(options: DebugOptions = {}): DebugDmaDevice {
  const addressSpace = new SimulatedAddressSpace();
  const common = { name: 'test', memory: new HeapMemory(), addressSpace };
  return new DebugDmaDevice(common, { print: false, ...options });
}

function incoherentDevice(): DebugDmaDevice {
  const memory = new HeapMemory();
  const cache = new SimulatedCache({
    coherenceOf: (buffer) => memory.coherenceOf(buffer),
    pageOffset: () => 0,
  });
  const addressSpace = new SimulatedAddressSpace({
    deviceView: (buffer, offset, size) => cache.deviceView(buffer, offset, size),
  });
  return new DebugDmaDevice({ name: 'test', memory, addressSpace, cache }, { print: false });
}

const kinds = ({ debug }: DebugDmaDevice) => debug.reports.map(({ kind }) => kind);

describe('the ledger', () => {
  it('finds what is live by device address: a mapping before the memory it lies in, in a list the right segment', () => {
    const dma = device();
    const { ledger } = dma.debug;
    const ring = dma.allocCoherent(4096);
    const mapping = dma.mapSingle(ring.bytes.subarray(64, 128), 'to-device');
    const list = dma.mapSg([ring.bytes.subarray(256, 260), ring.bytes.subarray(512, 516)], 'to-device');
    const base = Number(ring.dmaAddress);
    expect(ledger.find(base)?.type).toBe('coherent');
    expect(ledger.find(base + 64)?.type).toBe('single');
    expect(ledger.find(base + 127)?.type).toBe('single');
    expect(ledger.find(base + 128)?.type).toBe('coherent');
    expect(ledger.find(base + 258)?.type).toBe('scatter-gather');
    expect(ledger.find(base + 400)?.type).toBe('coherent');
    expect(ledger.find(base + 515)?.type).toBe('scatter-gather');
    expect(ledger.find(base + 4096)).toBeUndefined();
    expect(ledger.nearest(base + 5000)?.type).toBe('coherent');
    list.unmap();
    mapping.unmap();
    ring.free();
    expect(ledger.find(base)).toBeUndefined();
  });

  it('remembers what is over, the newest first, until its record is used again', () => {
    const dma = device();
    const { ledger } = dma.debug;
    const ring = dma.allocCoherent(4096);
    const base = Number(ring.dmaAddress);
    dma.mapSingle(ring.bytes.subarray(0, 64), 'to-device').unmap();
    dma.mapSingle(ring.bytes.subarray(0, 32), 'from-device').unmap();
    expect(ledger.findReleased(base)).toMatchObject({ size: 32, live: false });
    expect(ledger.findReleased(base + 40)).toMatchObject({ size: 64, live: false });
    expect(ledger.findReleased(base + 64)).toBeUndefined();
    ring.free();
    expect(ledger.findReleased(base + 100)).toMatchObject({ type: 'coherent', size: 4096 });
    const other = dma.allocCoherent(4096);
    for (let i = 0; i < 3000; i++) dma.mapSingle(other.bytes, 'to-device').unmap();
    expect(ledger.findReleased(base + 100)?.size).toBe(4096);
    other.free();
    dma.close();
    expect(kinds(dma)).toEqual([]);
  });

  it('starts with 65,536 entries and gets more as they are needed', () => {
    const dma = device();
    const { bytes } = dma.allocCoherent(4096);
    const live = Array.from({ length: 65_536 }, () => dma.mapSingle(bytes, 'to-device'));
    expect(dma.debug.entries).toEqual({ used: 65_537, peak: 65_537, limit: 131_072 });
    for (const mapping of live) mapping.unmap();
    expect(dma.debug.entries).toEqual({ used: 1, peak: 65_537, limit: 131_072 });
    expect(dma.debug.disabled).toBe(false);
  });

  it('counts a list mapped one by one as one thing, and forgets failed maps', () => {
    const dma = device();
    const list = dma.mapSg([Buffer.alloc(8), Buffer.alloc(8), Buffer.alloc(8)], 'from-device');
    expect(dma.debug.entries.used).toBe(1);
    expect(() => dma.mapSg([Buffer.alloc(8), new Uint8Array(0)], 'from-device')).toThrow();
    expect(dma.debug.entries.used).toBe(1);
    expect(dma.debug.dump().length).toBe(1);
    list.unmap();
    expect(dma.debug.entries.used).toBe(0);
    // What the elements held must be free again.
    const again = Buffer.alloc(8);
    dma.mapSg([again], 'from-device').unmap();
    dma.mapSg([again], 'from-device').unmap();
    expect(kinds(dma)).toEqual([]);
  });

  it('keeps the stacks of the first, then of a few, and names who makes such things for the others', () => {
    const dma = device();
    const { bytes } = dma.allocCoherent(4096);
    const live = Array.from({ length: 5000 }, () => dma.mapSingle(bytes, 'to-device'));
    const stacks = dma.debug.dump().map(({ stack }) => stack);
    expect(stacks.slice(0, 4096).every((stack) => stack?.includes('debug-ledger.test'))).toBe(true);
    expect(stacks.slice(4096).filter((stack) => stack !== undefined).length).toBe(1);
    const last = live.at(-1)!;
    last.unmap();
    expect(() => last.unmap()).toThrow();
    const { mappedAt, mistakeAt } = dma.debug.reports[0]!;
    expect(mappedAt).toMatch(
      /^not kept; things of 4096 bytes, to-device, were made here lately:\n\s+at .*debug-ledger\.test/,
    );
    expect(mistakeAt).toMatch(/^\s+at .*debug-ledger\.test/);
  });

  it.each([
    ['all', 5000],
    ['none', 0],
  ] as const)('keeps the stacks of %s when told to', (stacks, expected) => {
    const dma = device({ stacks });
    const { bytes } = dma.allocCoherent(4096);
    for (let i = 0; i < 5000; i++) dma.mapSingle(bytes, 'to-device');
    const kept = dma.debug.dump().filter(({ stack, type }) => stack !== undefined && type === 'single');
    expect(kept.length).toBe(expected);
  });

  it('reports a pool, its blocks and addresses that are left, each place once', () => {
    const dma = device();
    const pool = dma.createPool('rings', { size: 64 });
    for (let i = 0; i < 5; i++) pool.alloc();
    dma.reserveIova(8192);
    dma.close();
    dma.close();
    expect(dma.debug.reports.map(({ message }) => message.split(';')[0])).toEqual([
      "test: pool 'rings' with 5 of 64 blocks out still pending when the device is closed",
      'test: 1 range of reserved addresses of 8192 bytes still pending when the device is closed',
      'test: 5 blocks of a pool, 320 bytes in all, still pending when the device is closed',
    ]);
  });

  it('reports declared memory that is released while it is in use', () => {
    const dma = device();
    dma.declareCoherentMemory(new ArrayBuffer(8192), 0x1000_0000n, 8192);
    const buffer = dma.allocCoherent(64);
    dma.releaseDeclaredMemory();
    expect(kinds(dma)).toEqual(['declared-memory-busy']);
    expect(dma.debug.reports[0]).toMatchObject({ address: 0x1000_0000n, size: 64, type: 'coherent' });
    expect(() => buffer.free()).toThrow();
    dma.debug.clear();
    dma.declareCoherentMemory(new ArrayBuffer(8192), 0x1000_0000n, 8192);
    dma.allocCoherent(64).free();
    dma.releaseDeclaredMemory();
    expect(kinds(dma)).toEqual([]);
  });

  it('keeps the newest thousand reports and counts all', () => {
    const dma = device();
    const mapping = dma.mapSingle(Buffer.alloc(8), 'to-device');
    mapping.unmap();
    for (let i = 0; i < 1200; i++) expect(() => mapping.unmap()).toThrow();
    expect([dma.debug.reports.length, dma.debug.errorCount]).toEqual([1000, 1200]);
  });
});

describe('overlaps', () => {
  it('finds a range at either end, around and inside of another, of any size', () => {
    const memory = new Uint8Array(1 << 16);
    const cases: [number, number][] = [
      [0, 5000],
      [8191, 100],
      [4096, 4096],
      [0, 65_536],
      [4096, 1],
      [8191, 1],
      [5000, 70],
    ];
    for (const [offset, size] of cases) {
      const dma = device();
      const first = dma.mapSingle(memory.subarray(4096, 8192), 'from-device');
      const second = dma.mapSingle(memory.subarray(offset, offset + size), 'bidirectional');
      expect([offset, size, ...kinds(dma)]).toEqual([offset, size, 'overlapping-mappings']);
      first.unmap();
      second.unmap();
    }
  });

  it('is silent for neighbours, for what the device only reads, and when the driver says that it knows', () => {
    const dma = device();
    const memory = new Uint8Array(1 << 16);
    dma.mapSingle(memory.subarray(4096, 8192), 'from-device');
    dma.mapSingle(memory.subarray(4000, 4096), 'from-device');
    dma.mapSingle(memory.subarray(8192, 8193), 'from-device');
    dma.mapSingle(memory.subarray(4096, 8192), 'to-device');
    dma.mapSingle(memory.subarray(4096, 8192), 'from-device', DMA_ATTR.SKIP_CPU_SYNC);
    dma.mapSingle(memory.subarray(4096, 8192), 'from-device', DMA_ATTR.DEBUGGING_IGNORE_CACHELINES);
    dma.mapSingle(new Uint8Array(1 << 16).subarray(4096, 8192), 'from-device');
    expect(kinds(dma)).toEqual([]);
  });

  it.each([
    ['of ours, by arithmetic', (dma: DebugDmaDevice) => dma.allocCoherent(8192).bytes],
    ['bounced, one by one', () => new Uint8Array(8192)],
    ['in place', () => new Uint8Array(new ArrayBuffer(1 << 20))],
  ] as const)('finds them between lists and mappings %s', (_, memoryOf) => {
    const dma = device();
    const memory = memoryOf(dma);
    const half = memory.length / 2;
    const list = dma.mapSg([memory.subarray(0, half), memory.subarray(half)], 'from-device');
    dma.debug.clear();
    const mapping = dma.mapSingle(memory.subarray(half + 8, half + 16), 'from-device');
    expect(kinds(dma)).toEqual(['overlapping-mappings']);
    expect(dma.debug.reports[0]?.mappedAt).toContain('debug-ledger.test');
    list.unmap();
    mapping.unmap();
    dma.mapSingle(memory, 'from-device').unmap();
    expect(kinds(dma)).toEqual(['overlapping-mappings']);
  });

  it('finds a cache line that two share and one of them writes, where caches are kept by hand', () => {
    const dma = incoherentDevice();
    const { bytes } = dma.allocNoncoherent(4096, 'bidirectional');
    const first = dma.mapSingle(bytes.subarray(0, 100), 'to-device');
    dma.mapSingle(bytes.subarray(128, 200), 'from-device').unmap();
    dma.mapSingle(bytes.subarray(100, 128), 'to-device').unmap();
    expect(kinds(dma)).toEqual([]);
    dma.mapSingle(bytes.subarray(100, 128), 'from-device').unmap();
    expect(kinds(dma)).toEqual(['shared-cache-line']);
    first.unmap();
    dma.mapSingle(bytes.subarray(100, 128), 'from-device').unmap();
    dma.mapSg([bytes.subarray(0, 10), bytes.subarray(20, 30)], 'from-device').unmap();
    expect(kinds(dma)).toEqual(['shared-cache-line', 'shared-cache-line']);
  });

  it('agrees with looking at every range, whatever comes and goes', () => {
    const random = new SplitMix(7);
    const index = new SpanIndex<Entry>();
    const live: { start: number; size: number; id: number; entry: Entry }[] = [];
    let found = 0;
    for (let step = 0; step < 20_000; step++) {
      if (live.length > 0 && random.below(100) < 45) {
        index.remove(live.splice(random.below(live.length), 1)[0]!.id);
        continue;
      }
      const size = 1 + random.below(2 ** (1 + random.below(14)));
      const start = 2 ** 40 * random.below(3) + random.below(2 ** 22);
      const entry = { serial: step } as Entry;
      const id = index.add(start, size, entry);
      const other = index.met;
      const met = live.filter((one) => one.start < start + size && one.start + one.size > start);
      if (step % 10 === 0) {
        const touching = index.touching(start, size).filter((one) => one !== entry);
        expect(new Set(touching)).toEqual(new Set(met.map((one) => one.entry)));
        expect(touching.length).toBe(met.length);
      }
      if (other !== undefined) expect(met.some(({ entry }) => entry === other)).toBe(true);
      // Much smaller ones that touch neither end are not looked for.
      const sure = met.some((one) => {
        const isMuchSmaller = size > 16 * 2 ** Math.max(6, Math.ceil(Math.log2(one.size)));
        return !isMuchSmaller || one.start <= start || one.start + one.size >= start + size;
      });
      if (sure) expect(other).toBeDefined();
      if (other !== undefined) found++;
      live.push({ start, size, entry, id });
    }
    expect(index.count).toBe(live.length);
    expect(new Set(index)).toEqual(new Set(live.map(({ entry }) => entry)));
    expect(found).toBeGreaterThan(100);
  });
});

describe('sites', () => {
  it('begin with the line of the program, not of the library', () => {
    const here = describeSite(captureSite())!;
    expect(here.split('\n')[0]).toMatch(/debug-ledger\.test\.ts:\d+:\d+/);
    expect(here).not.toContain('/lib/');
    expect(describeSite(undefined)).toBeUndefined();
  });

  it('leave the limit of stack traces as it was', () => {
    const limit = Error.stackTraceLimit;
    captureSite();
    expect(Error.stackTraceLimit).toBe(limit);
  });

  it('are captured for the first and then for every so many', () => {
    const sampler = new Sampler(3, 10);
    const turns = Array.from({ length: 33 }, () => sampler.next());
    expect(turns.flatMap((turn, i) => (turn ? [i] : []))).toEqual([0, 1, 2, 3, 13, 23]);
  });
});
