import assert from 'node:assert/strict';
import { describe, it } from 'vitest';
import { DmaDevice as Device } from '../../lib/dma/device.ts';
import type { StreamingOptions } from '../../lib/dma/streaming/streaming.ts';
import { DMA_ATTR, type DmaDevice, type DmaDirection, dmaBitMask, type SgMapping } from '../../lib/index.ts';
import { SimulatedAddressSpace, type SimulatedAddressSpaceOptions } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { SimulatedCache } from '../../lib/sim/cache.ts';
import { SimulatedPhysicalMemory } from '../../lib/sim/physical-memory.ts';
import { detach } from './streaming-fixture.ts';

const PAGE = 4096;

interface World {
  readonly dma: DmaDevice;
  readonly space: SimulatedAddressSpace;
}

function iommu(options: StreamingOptions & SimulatedAddressSpaceOptions = {}): World {
  const { bounce, copybreak, ...rest } = options;
  const space = new SimulatedAddressSpace(rest);
  const streaming = { bounce, copybreak };
  return {
    dma: new Device({ ...streaming, name: 'test', memory: new HeapMemory(), addressSpace: space }),
    space,
  };
}

function direct(): World {
  const space = new SimulatedAddressSpace({ ranges: [{ start: 0x100000, end: 0xfffffff }] });
  const memory = new SimulatedPhysicalMemory({ heap: new HeapMemory(), addressSpace: space });
  return { dma: new Device({ name: 'test', memory }), space };
}

function incoherent(): World {
  const memory = new HeapMemory();
  const coherenceOf = (buffer: ArrayBufferLike) => memory.coherenceOf(buffer);
  const cache = new SimulatedCache({ coherenceOf, pageOffset: () => 0 });
  const space = new SimulatedAddressSpace({
    deviceView: (buffer, offset, size) => cache.deviceView(buffer, offset, size),
  });
  return { dma: new Device({ name: 'test', memory, addressSpace: space, cache }), space };
}

/** Foreign memory: `pages` of one buffer, filled with `value`. */
function foreign(pages: number, value = 0): Uint8Array {
  return new Uint8Array(pages * PAGE).fill(value);
}

function code(name: string, body: () => unknown): void {
  assert.throws(body, (error: { code?: string }) => error.code === name, `expected ${name}`);
}

/** All bytes of a mapping, as the device reads them. */
function deviceReads({ space }: World, mapping: SgMapping): Uint8Array {
  const into = new Uint8Array(mapping.size);
  let at = 0;
  for (const { dmaAddress, length } of mapping.segments) {
    space.read(dmaAddress, into.subarray(at, at + length));
    at += length;
  }
  assert.equal(at, mapping.size, 'the segments hold all bytes');
  return into;
}

function deviceWrites({ space }: World, mapping: SgMapping, bytes: Uint8Array): void {
  let at = 0;
  for (const { dmaAddress, length } of mapping.segments) {
    space.write(dmaAddress, bytes.subarray(at, at + length));
    at += length;
  }
}

function concat(views: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(views));
}

function pattern(size: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 7 + seed * 31 + (i >> 8)) & 0xff);
}

function lengths(mapping: SgMapping): number[] {
  return mapping.segments.map(({ length }) => length);
}

/** Page-sized views of one coherent buffer. */
function ownPages(dma: DmaDevice, pages: number): Uint8Array[] {
  const { bytes } = dma.allocCoherent(pages * PAGE);
  return Array.from({ length: pages }, (_, i) => bytes.subarray(i * PAGE, (i + 1) * PAGE));
}

describe('mapSg of memory of the device', () => {
  it('is arithmetic and merges neighbours, with no mapping made', () => {
    const { dma, space } = iommu();
    const pages = ownPages(dma, 4);
    const { mappings } = space.stats;
    using mapping = dma.mapSg(pages, 'to-device');
    assert.equal(mapping.way, 'arithmetic');
    assert.deepEqual([mapping.nents, mapping.size, lengths(mapping)], [4, 4 * PAGE, [4 * PAGE]]);
    assert.equal(mapping.segments[0]!.dmaAddress, dma.addressOf(pages[0]!));
    assert.equal(space.stats.mappings, mappings);
    assert.equal(mapping.needSync, false);
  });

  it('keeps apart what is out of order, has a gap, or meets inside a page', () => {
    const { dma } = iommu();
    const [a, b, c] = ownPages(dma, 3) as [Uint8Array, Uint8Array, Uint8Array];
    assert.deepEqual(lengths(dma.mapSg([b, a, c], 'to-device')), [PAGE, PAGE, PAGE]);
    assert.deepEqual(lengths(dma.mapSg([a, c], 'to-device')), [PAGE, PAGE]);
    assert.deepEqual(lengths(dma.mapSg([a.subarray(0, 100), a.subarray(100)], 'to-device')), [
      100,
      PAGE - 100,
    ]);
  });

  it('merges no longer than the longest segment and not over the boundary, as they are at the time', () => {
    const { dma } = iommu();
    const pages = ownPages(dma, 8);
    dma.limits.maxSegmentSize = 3 * PAGE;
    assert.deepEqual(
      lengths(dma.mapSg(pages, 'to-device')),
      [3, 3, 2].map((n) => n * PAGE),
    );
    dma.limits.maxSegmentSize = 64 * PAGE;
    dma.limits.segmentBoundary = 2 * PAGE - 1;
    assert.deepEqual(
      lengths(dma.mapSg(pages, 'to-device')),
      [2, 2, 2, 2].map((n) => n * PAGE),
    );
  });

  it('is given other addresses where its own cross the boundary', () => {
    const world = iommu();
    const { bytes } = world.dma.allocCoherent(4 * PAGE);
    bytes.set(pattern(bytes.length, 1));
    world.dma.limits.segmentBoundary = 2 * PAGE - 1;
    const list = [bytes.subarray(PAGE, 3 * PAGE), bytes.subarray(0, PAGE)];
    using mapping = world.dma.mapSg(list, 'to-device');
    for (const { low, length } of mapping.segments) {
      assert.equal(Math.floor(low / (2 * PAGE)), Math.floor((low + length - 1) / (2 * PAGE)));
    }
    assert.deepEqual(deviceReads(world, mapping), concat(list));
  });

  it('above the streaming mask it is given other addresses', () => {
    const world = iommu();
    world.dma.setCoherentMask(dmaBitMask(32));
    world.dma.setMask(dmaBitMask(24));
    const pages = ownPages(world.dma, 16);
    pages.forEach((page, i) => void page.set(pattern(PAGE, i)));
    assert.ok(world.dma.addressOf(pages[0]!) > dmaBitMask(24));
    using mapping = world.dma.mapSg(pages, 'bidirectional');
    assert.equal(mapping.way, 'pinned');
    assert.ok(mapping.segments.every(({ dmaAddress }) => dmaAddress < dmaBitMask(24)));
    assert.deepEqual(deviceReads(world, mapping), concat(pages));
  });

  it('is not lent for what the device may not do with it', () => {
    const world = iommu();
    const readable = world.dma.allocNoncoherent(PAGE, 'to-device');
    using mapping = world.dma.mapSg([readable.bytes], 'from-device');
    assert.notEqual(mapping.way, 'arithmetic');
    deviceWrites(world, mapping, new Uint8Array(PAGE).fill(9));
    mapping.unmap();
    assert.equal(readable.bytes[77], 9);
  });
});

describe('mapSg of foreign memory', () => {
  it('of whole pages is one run in place, padded and merged', () => {
    const world = iommu({ copybreak: 0 });
    const list = [foreign(2, 1), foreign(1, 2), foreign(13, 3), foreign(4, 4)];
    list.forEach((view, i) => void view.set(pattern(view.length, i)));
    const { mappings } = world.space.stats;
    const mapping = world.dma.mapSg(list, 'to-device');
    assert.equal(mapping.way, 'pinned');
    assert.deepEqual(lengths(mapping), [16 * PAGE, 4 * PAGE]);
    assert.equal(world.space.stats.mappings, mappings + 4);
    assert.deepEqual(deviceReads(world, mapping), concat(list));
    mapping.unmap();
    assert.equal(world.space.stats.mappings, mappings);
  });

  it('that is one stretch of one buffer takes one mapping', () => {
    const world = iommu({ copybreak: 0 });
    const whole = foreign(8);
    const list = Array.from({ length: 8 }, (_, i) => whole.subarray(i * PAGE, (i + 1) * PAGE));
    using mapping = world.dma.mapSg(list, 'bidirectional');
    assert.deepEqual(lengths(mapping), [8 * PAGE]);
    assert.equal(world.space.stats.mappings, 1);
  });

  it('at following offsets of two buffers is not one stretch', () => {
    const world = iommu({ copybreak: 0 });
    const list = [foreign(2, 1).subarray(0, PAGE), foreign(2, 2).subarray(PAGE)];
    using mapping = world.dma.mapSg(list, 'to-device');
    assert.deepEqual(deviceReads(world, mapping), concat(list));
  });

  it('mixed with memory of the device is in place as well, pages of ours need not be whole', () => {
    const world = iommu({ copybreak: 0 });
    const own = world.dma.allocCoherent(PAGE).bytes.fill(5);
    const list = [foreign(1, 1), own.subarray(8, 72), foreign(1, 2)];
    using mapping = world.dma.mapSg(list, 'to-device');
    assert.equal(mapping.way, 'pinned');
    assert.deepEqual(lengths(mapping), [PAGE, 64, PAGE]);
    assert.deepEqual(deviceReads(world, mapping), concat(list));
  });

  it('smaller than the copybreak in all is copied, and neighbours are one segment all the same', () => {
    for (const options of [{}, { pinsForeignMemory: false }, { bounce: { force: true } }]) {
      const world = iommu(options);
      const list = [
        foreign(1, 1).subarray(100),
        foreign(1, 2),
        foreign(1, 3).subarray(0, 50),
        foreign(1, 4).subarray(9, 40),
        foreign(2, 5),
        foreign(1, 6),
      ];
      const mapping = world.dma.mapSg(list, 'bidirectional');
      assert.deepEqual([mapping.way, mapping.needSync], ['bounced', true]);
      assert.deepEqual(lengths(mapping), [2 * PAGE - 50, 31, 3 * PAGE]);
      assert.deepEqual(deviceReads(world, mapping), concat(list));
      deviceWrites(world, mapping, pattern(mapping.size, 1));
      mapping.syncForCpu();
      assert.deepEqual(concat(list), pattern(mapping.size, 1));
      list[1]!.fill(9);
      mapping.syncForDevice();
      assert.deepEqual(deviceReads(world, mapping), concat(list));
      deviceWrites(world, mapping, pattern(mapping.size, 2));
      mapping.unmap();
      assert.deepEqual(concat(list), pattern(mapping.size, 2));
      assert.equal(world.dma.bounceStats.usedSlots, 0);
    }
  });

  it('that is copied is in segments no longer than the longest, and over no boundary', () => {
    const world = iommu();
    const list = Array.from({ length: 7 }, (_, i) => foreign(1, i));
    world.dma.limits.maxSegmentSize = 3 * PAGE;
    assert.deepEqual(lengths(world.dma.mapSg(list, 'to-device')), [3 * PAGE, 3 * PAGE, PAGE]);
    world.dma.limits.segmentBoundary = 2 * PAGE - 1;
    using mapping = world.dma.mapSg(list, 'to-device');
    assert.deepEqual(lengths(mapping), [2 * PAGE, 2 * PAGE, 2 * PAGE, PAGE]);
    for (const { low, length } of mapping.segments) assert.ok((low % (2 * PAGE)) + length <= 2 * PAGE);
  });

  it('with a copied edge merges too: what is between the edges is in place', () => {
    const world = iommu();
    const memory = pattern(20 * PAGE, 1);
    const list = [
      memory.subarray(500, 8 * PAGE),
      memory.subarray(8 * PAGE, 16 * PAGE),
      memory.subarray(16 * PAGE, 17 * PAGE + 9),
    ];
    const around = memory.slice();
    const mapping = world.dma.mapSg(list, 'bidirectional');
    assert.deepEqual([mapping.way, mapping.needSync], ['pinned', true]);
    assert.deepEqual(lengths(mapping), [16 * PAGE - 500, PAGE + 9]);
    assert.deepEqual(deviceReads(world, mapping), concat(list));
    deviceWrites(world, mapping, pattern(mapping.size, 2));
    // Edges are copied, the rest is there at once.
    assert.deepEqual(
      memory.subarray(PAGE, 17 * PAGE),
      pattern(mapping.size, 2).subarray(PAGE - 500, 17 * PAGE - 500),
    );
    assert.deepEqual(memory.subarray(500, PAGE), around.subarray(500, PAGE));
    mapping.syncForCpu();
    assert.deepEqual(concat(list), pattern(mapping.size, 2));
    memory.fill(7, 500, PAGE);
    mapping.syncForDevice();
    assert.deepEqual(deviceReads(world, mapping), concat(list));
    deviceWrites(world, mapping, pattern(mapping.size, 3));
    mapping.unmap();
    assert.deepEqual(concat(list), pattern(mapping.size, 3));
    assert.deepEqual(memory.subarray(0, 500), around.subarray(0, 500));
    assert.deepEqual(memory.subarray(17 * PAGE + 9), around.subarray(17 * PAGE + 9));
    assert.equal(world.dma.bounceStats.usedSlots, 0);
  });

  it('with an element that ends inside a page merges up to there', () => {
    const world = iommu({ copybreak: 4 * PAGE });
    const list = [foreign(8, 1), foreign(1, 2).subarray(0, 100), foreign(8, 3)];
    using mapping = world.dma.mapSg(list, 'to-device');
    assert.deepEqual([mapping.way, lengths(mapping)], ['pinned', [8 * PAGE + 100, 8 * PAGE]]);
    assert.deepEqual(deviceReads(world, mapping), concat(list));
  });

  it('is bounced when everything is, own memory too', () => {
    const world = iommu({ bounce: { force: true } });
    const list = [...ownPages(world.dma, 2), foreign(16, 3)];
    using mapping = world.dma.mapSg(list, 'to-device');
    assert.deepEqual([mapping.way, lengths(mapping)], ['bounced', [2 * PAGE, 16 * PAGE]]);
    assert.deepEqual(deviceReads(world, mapping), concat(list));
  });

  it('is copied when it cannot be pinned', () => {
    const world = iommu({ mappingLimit: 2 });
    const list = Array.from({ length: 9 }, (_, i) => foreign(1, i));
    using mapping = world.dma.mapSg(list, 'to-device');
    assert.equal(mapping.way, 'bounced');
    assert.equal(world.space.stats.mappings, 1, 'the chunk of the bounce buffer');
    assert.deepEqual(deviceReads(world, mapping), concat(list));
  });

  it('is in place or refused with REQUIRE_COHERENT', () => {
    const world = iommu();
    using mapping = world.dma.mapSg([foreign(1)], 'to-device', DMA_ATTR.REQUIRE_COHERENT);
    assert.equal(mapping.way, 'pinned');
    code('EIO', () => world.dma.mapSg([foreign(1).subarray(1)], 'to-device', DMA_ATTR.REQUIRE_COHERENT));
    code('EOPNOTSUPP', () => incoherent().dma.mapSg([foreign(1)], 'to-device', DMA_ATTR.REQUIRE_COHERENT));
  });
});

describe('mapSg without an IOMMU', () => {
  it('merges nothing', () => {
    const world = direct();
    const pages = ownPages(world.dma, 3);
    using mapping = world.dma.mapSg(pages, 'to-device');
    assert.deepEqual([mapping.way, lengths(mapping)], ['arithmetic', [PAGE, PAGE, PAGE]]);
  });

  it('copies foreign memory of any size that can be copied', () => {
    const world = direct();
    const list = [foreign(16, 1), pattern(100, 2)];
    using mapping = world.dma.mapSg(list, 'to-device');
    assert.deepEqual([mapping.way, lengths(mapping)], ['bounced', [16 * PAGE, 100]]);
    assert.deepEqual(deviceReads(world, mapping), concat(list));
    code('ENOMEM', () => world.dma.mapSg([foreign(65)], 'to-device'));
  });
});

describe('sync and unmap of a list', () => {
  const WAYS: readonly [name: string, world: () => World, sizes: readonly number[]][] = [
    ['bounced', () => iommu(), [256, 100, 1]],
    ['pinned', () => iommu({ copybreak: 0 }), [PAGE, 2 * PAGE]],
    ['one by one, unaligned', () => iommu({ copybreak: PAGE }), [3 * PAGE + 5, 10, 2 * PAGE]],
    ['incoherent', () => incoherent(), [PAGE * 8, PAGE * 2]],
    ['incoherent, bounced', () => incoherent(), [64, 128]],
    ['direct', () => direct(), [64, 5000]],
  ];

  for (const [name, make, sizes] of WAYS) {
    it(`${name}: what the device wrote arrives, what it did not write stays`, () => {
      const world = make();
      const list = sizes.map((size, i) => pattern(size, i));
      const mapping = world.dma.mapSg(list, 'from-device');
      const before = concat(list);
      const written = pattern(mapping.size, 99);
      const { dmaAddress, length } = mapping.segments[0]!;
      const half = Math.ceil(length / 2);
      world.space.write(dmaAddress, written.subarray(0, half));
      mapping.syncForCpu();
      assert.deepEqual(concat(list).subarray(0, half), written.subarray(0, half));
      assert.deepEqual(concat(list).subarray(half), before.subarray(half));
      deviceWrites(world, mapping, written);
      mapping.unmap();
      assert.deepEqual(concat(list), written);
    });

    it(`${name}: what the CPU wrote reaches the device with a sync`, () => {
      const world = make();
      const list = sizes.map((size, i) => pattern(size, i));
      using mapping = world.dma.mapSg(list, 'bidirectional');
      assert.deepEqual(deviceReads(world, mapping), concat(list));
      mapping.syncForCpu();
      list.forEach((view, i) => void view.set(pattern(view.length, i + 50)));
      mapping.syncForDevice();
      assert.deepEqual(deviceReads(world, mapping), concat(list));
    });
  }

  it('own memory that is not coherent is maintained, and still merges', () => {
    const world = incoherent();
    const buffer = world.dma.allocNoncoherent(2 * PAGE, 'bidirectional');
    const list = [buffer.bytes.subarray(0, PAGE), buffer.bytes.subarray(PAGE)];
    buffer.bytes.fill(1);
    using mapping = world.dma.mapSg(list, 'bidirectional');
    assert.deepEqual([mapping.way, mapping.segments.length, mapping.needSync], ['arithmetic', 1, true]);
    assert.deepEqual(deviceReads(world, mapping), buffer.bytes);
    buffer.bytes.fill(2);
    assert.equal(deviceReads(world, mapping)[0], 1, 'not synced');
    mapping.syncForDevice();
    assert.equal(deviceReads(world, mapping)[PAGE], 2);
    deviceWrites(world, mapping, new Uint8Array(2 * PAGE).fill(3));
    mapping.syncForCpu();
    assert.equal(buffer.bytes[2 * PAGE - 1], 3);
  });

  it('SKIP_CPU_SYNC leaves the bytes at unmap', () => {
    const world = iommu();
    const list = [pattern(64, 1)];
    const mapping = world.dma.mapSg(list, 'from-device', DMA_ATTR.SKIP_CPU_SYNC);
    deviceWrites(world, mapping, new Uint8Array(64).fill(0xff));
    mapping.unmap();
    assert.deepEqual(list[0], pattern(64, 1));
  });

  it('a detached element is told of after everything was released', () => {
    const { dma, space } = iommu();
    const lost = pattern(64, 1);
    const kept = pattern(64, 2);
    const mapping = dma.mapSg([lost, kept], 'from-device');
    const { dmaAddress } = mapping.segments[1]!;
    detach(lost.buffer);
    space.write(dmaAddress, new Uint8Array(64).fill(7));
    code('EINVAL', () => mapping.syncForCpu());
    assert.equal(kept[0], 7, 'the others are synced');
    space.write(dmaAddress, new Uint8Array(64).fill(8));
    code('EINVAL', () => mapping.unmap());
    assert.equal(kept[63], 8, 'the others are copied');
    assert.equal(dma.bounceStats.usedSlots, 0);
    code('EINVAL', () => mapping.unmap());
  });
});

describe('a list that is only maintained', () => {
  const LISTS: readonly [way: string, list: (dma: DmaDevice) => [Uint8Array, Uint8Array]][] = [
    [
      'arithmetic',
      (dma) => [
        dma.allocNoncoherent(PAGE, 'bidirectional').bytes,
        dma.allocNoncoherent(PAGE, 'bidirectional').bytes,
      ],
    ],
    ['pinned', () => [foreign(8), foreign(8)]],
  ];

  for (const [way, list] of LISTS) {
    it(`${way}: each sync and unmap tells of an element that was detached, and the others are maintained`, () => {
      const world = incoherent();
      const [lost, kept] = list(world.dma);
      const mapping = world.dma.mapSg([kept, lost], 'bidirectional');
      assert.equal(mapping.way, way);
      const { dmaAddress } = mapping.segments[0]!;
      const reads = () => {
        const byte = new Uint8Array(1);
        world.space.read(dmaAddress, byte);
        return byte[0];
      };
      detach(lost.buffer);
      kept.fill(5);
      const told = (message: RegExp) => ({ code: 'EINVAL', message });
      assert.throws(() => mapping.syncForDevice(), told(/unmap it/));
      assert.equal(reads(), 5);
      world.space.write(dmaAddress, Uint8Array.of(6));
      assert.throws(() => mapping.syncForCpu(), told(/unmap it/));
      assert.equal(kept[0], 6);
      world.space.write(dmaAddress, Uint8Array.of(7));
      assert.throws(() => mapping.unmap(), told(/has been unmapped/));
      assert.equal(kept[0], 7);
      assert.ok(!mapping.mapped);
    });
  }

  it('leaves nothing to maintain to the next list of its handle', () => {
    const { dma } = incoherent();
    const cached = dma.allocNoncoherent(PAGE, 'bidirectional').bytes;
    const coherent = dma.allocCoherent(PAGE).bytes;
    const seen = new Set<SgMapping>();
    for (let i = 0; i < 1100; i++) {
      const mapping = dma.mapSg([cached], 'to-device');
      assert.ok(mapping.needSync);
      seen.add(mapping);
      mapping.unmap();
    }
    using mapping = dma.mapSg([coherent], 'to-device');
    assert.ok(seen.has(mapping), 'it is used again');
    assert.equal(mapping.needSync, false);
  });
});

describe('mistakes with lists', () => {
  const resizable = () =>
    new Uint8Array(
      new (ArrayBuffer as new (size: number, options: object) => ArrayBuffer)(64, { maxByteLength: 128 }),
    );
  const LISTS: readonly [name: string, list: () => unknown, direction?: unknown, attributes?: number][] = [
    ['no list', () => undefined],
    ['an empty list', () => []],
    ['an empty element', () => [new Uint8Array(4), new Uint8Array(0)]],
    ['no view', () => [new Uint8Array(4), 'bytes']],
    ['a hole', () => [new Uint8Array(4), undefined]],
    ['shared memory', () => [new Uint8Array(new SharedArrayBuffer(64))]],
    ['resizable memory', () => [new Uint8Array(4), resizable()]],
    ['no direction', () => [new Uint8Array(4)], null],
    ['DMA_NONE', () => [new Uint8Array(4)], 'none'],
    ['a removed attribute', () => [new Uint8Array(4)], 'to-device', 8],
    ['MMIO', () => [new Uint8Array(4)], 'to-device', DMA_ATTR.MMIO],
  ];

  for (const [name, list, direction, attributes] of LISTS) {
    it(`${name}: EINVAL, nothing mapped`, () => {
      for (const { dma, space } of [iommu(), iommu({ copybreak: 0 })]) {
        const how = (direction === undefined ? 'to-device' : direction) as DmaDirection;
        code('EINVAL', () => dma.mapSg(list() as Uint8Array[], how, attributes));
        assert.equal(dma.bounceStats.usedSlots, 0);
        assert.ok(space.stats.mappings <= 1);
      }
    });
  }

  it('a freed own view in the list is refused', () => {
    const { dma } = iommu();
    const buffer = dma.allocCoherent(64);
    const [page] = ownPages(dma, 1) as [Uint8Array];
    const { bytes } = buffer;
    buffer.free();
    code('EINVAL', () => dma.mapSg([page, bytes], 'to-device'));
  });

  it('an element that finds no room undoes those before it, and copies nothing back', () => {
    const { dma } = iommu({ bounce: { total: 2 * 2 ** 20, force: true } });
    const list = [new Uint8Array(64), ...Array.from({ length: 8 }, () => foreign(64))];
    code('ENOMEM', () => dma.mapSg(list, 'from-device'));
    assert.ok(dma.bounceStats.maps > 1, 'some of it was mapped');
    assert.equal(dma.bounceStats.usedSlots, 0);
    assert.equal(dma.bounceStats.bytesOut, 0);
  });

  it('no address for the whole list: ENOMEM where it may not be copied', () => {
    const { dma, space } = iommu({ ranges: [{ start: 0x1000, end: 0x4fff }] });
    code('ENOMEM', () => dma.mapSg([foreign(8)], 'to-device', DMA_ATTR.REQUIRE_COHERENT));
    assert.equal(space.stats.mappings, 0);
  });

  it('no mappings left is told as ENOMEM, the code of dma_map_sgtable for a retry', () => {
    const { dma } = iommu({ mappingLimit: 1 });
    const list = [foreign(1), foreign(1)];
    code('ENOMEM', () => dma.mapSg(list, 'to-device', DMA_ATTR.REQUIRE_COHERENT));
  });

  it('a second unmap, and any use after it', () => {
    const { dma } = iommu();
    const mapping = dma.mapSg([new Uint8Array(64)], 'to-device');
    const [segment] = mapping.segments;
    assert.ok(mapping.mapped);
    mapping.unmap();
    assert.ok(!mapping.mapped);
    for (const use of [
      () => mapping.unmap(),
      () => mapping.syncForCpu(),
      () => mapping.syncForDevice(),
      () => mapping.segments,
      () => mapping.needSync,
      () => segment!.dmaAddress,
      () => segment!.low,
      () => segment!.high,
      () => segment!.length,
    ]) {
      code('EINVAL', use);
    }
    mapping[Symbol.dispose]();
  });

  it('is caught although handles are used again', () => {
    const { dma } = iommu();
    const [page] = ownPages(dma, 1) as [Uint8Array];
    const stale = dma.mapSg([page], 'to-device');
    stale.unmap();
    for (let i = 0; i < 1000; i++) dma.mapSg([page], 'to-device').unmap();
    code('EINVAL', () => stale.unmap());
    const seen = new Set<SgMapping>();
    for (let i = 0; i < 3000; i++) {
      const mapping = dma.mapSg([page], 'to-device');
      seen.add(mapping);
      mapping.unmap();
    }
    assert.ok(seen.size < 2000, 'they are used again');
  });

  it('a closed device', () => {
    const { dma } = iommu();
    const mapping = dma.mapSg([new Uint8Array(64)], 'from-device');
    dma.close();
    code('ENODEV', () => dma.mapSg([new Uint8Array(64)], 'to-device'));
    code('EINVAL', () => mapping.unmap());
    assert.ok(!mapping.mapped);
  });
});

describe('memory of a device in another domain', () => {
  it('has no address here: one view and a list are mapped as memory of the program', () => {
    const here = iommu();
    const there = iommu();
    const { bytes } = there.dma.allocCoherent(PAGE);
    bytes.fill(7);
    // The device here has other memory at the same address.
    here.dma.allocCoherent(PAGE).bytes.fill(9);
    const single = here.dma.mapSingle(bytes, 'to-device');
    const read = new Uint8Array(PAGE);
    here.space.read(single.dmaAddress, read);
    assert.deepEqual(read, bytes);
    assert.notEqual(single.way, 'arithmetic');
    const list = here.dma.mapSg([bytes], 'to-device');
    assert.deepEqual(deviceReads(here, list), new Uint8Array(bytes));
    assert.notEqual(list.way, 'arithmetic');
  });
});
