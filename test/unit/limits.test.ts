import { describe, expect, it } from 'vitest';
import { longestRun } from '../../lib/dma/bounce/room.ts';
import { dmaBitMask } from '../../lib/dma/words/mask.ts';
import { expectCode } from './sim-fixture.ts';
import { PAGE, pattern, world } from './streaming-fixture.ts';

describe('limits of a device', () => {
  it('start as those of a PCI function behind an IOMMU', () => {
    const { limits } = world().dma;
    expect(limits.maxSegmentSize).toBe(65_536);
    expect(limits.segmentBoundary).toBe(0xffff_ffff);
    expect(limits.minAlignMask).toBe(0);
    expect(limits.mergeBoundary).toBe(PAGE - 1);
    expect(limits.cacheAlignment).toBe(1);
    expect(limits.optMappingSize).toBe(128 * 1024);
  });

  it('take what the kernel takes', () => {
    const { limits } = world().dma;
    limits.maxSegmentSize = 1;
    limits.segmentBoundary = 2 ** 53 - 1;
    limits.segmentBoundary = 0xfff;
    limits.minAlignMask = 0xfff;
    expect([limits.maxSegmentSize, limits.segmentBoundary, limits.minAlignMask]).toEqual([1, 0xfff, 0xfff]);
    limits.minAlignMask = 0;
    expect(limits.minAlignMask).toBe(0);
  });

  it.each([
    ['maxSegmentSize', [0, -1, 1.5, Number.NaN, 2 ** 53]],
    ['segmentBoundary', [0, -1, 2, 0x1000, 2 ** 50, 2 ** 50 + 1, Number.NaN, 2 ** 54 - 1]],
    ['minAlignMask', [-1, 2, 0x1000, 0x1fff, Number.NaN, 0.5]],
  ] as const)('refuse a bad %s and keep the old one', (name, values) => {
    const { limits } = world().dma;
    const before = limits[name];
    for (const value of values) expectCode('EINVAL', () => Object.assign(limits, { [name]: value }));
    expect(limits[name]).toBe(before);
  });

  it('have the longest mapping that the mask leaves where memory is pinned', () => {
    const { dma } = world();
    dma.setMask(dmaBitMask(24));
    // Naturally aligned, page 0 is never used, and memory that starts inside a page touches one page more.
    expect(dma.limits.maxMappingSize).toBe(2 ** 23 - PAGE);
    const memory = new Uint8Array(2 ** 23 + PAGE);
    for (const at of [0, 1, PAGE - 1]) {
      dma.mapSingle(memory.subarray(at, at + 2 ** 23 - PAGE), 'to-device').unmap();
    }
    dma.mapSingle(new Uint8Array(2 ** 23), 'to-device').unmap();
    expectCode('ENOMEM', () => dma.mapSingle(new Uint8Array(2 ** 23 + 1), 'to-device'));
  });

  it.each([
    [[{ start: 0, end: 0xffff }], 0xffff, 0x8000],
    [[{ start: 0x10000, end: 0x1ffff }], 2 ** 40, 0x10000],
    // Up to 32 pages a whole power of two is taken.
    [[{ start: 0x10000, end: 0x1cfff }], 2 ** 40, 0x8000],
    [[{ start: 0x40000, end: 0x6cfff }], 2 ** 40, 0x2d000],
    [[{ start: 0x1000, end: 0x4fff }], 2 ** 40, 0x2000],
    [
      [
        { start: 0x1000, end: 0x4fff },
        { start: 0x8000, end: 0xaabc },
      ],
      2 ** 40,
      0x2000,
    ],
    [
      [
        { start: 0x1000, end: 0x4fff },
        { start: 0x8000, end: 0xabbc },
      ],
      0x0fff,
      0,
    ],
  ])('find the longest run of %j below %i', (ranges, limit, size) => {
    expect(longestRun(ranges, PAGE, limit)).toBe(size);
  });

  it('have swiotlb’s longest mapping where nothing is pinned', () => {
    const { dma } = world({}, { pinsForeignMemory: false });
    expect(dma.limits.maxMappingSize).toBe(262_144);
    expect(dma.limits.optMappingSize).toBe(128 * 1024);
    dma.limits.minAlignMask = 0xfff;
    expect(dma.limits.maxMappingSize).toBe(262_144 - 4096);
    dma.limits.minAlignMask = 0x1ff;
    expect(dma.limits.maxMappingSize).toBe(262_144 - 2048);
    expect(world({ bounce: { force: true } }).dma.limits.maxMappingSize).toBe(262_144);
    expect(world({ bounce: { force: true, maxMapping: 5000 } }).dma.limits.maxMappingSize).toBe(5000);
  });

  it('allow every mapping up to maxMappingSize and none beyond', () => {
    const { dma } = world({}, { pinsForeignMemory: false });
    dma.mapSingle(pattern(dma.limits.maxMappingSize), 'to-device').unmap();
    expectCode('ENOMEM', () => dma.mapSingle(pattern(dma.limits.maxMappingSize + 1), 'to-device'));
  });

  it('are reached by any view, between the longest copy and the copybreak too', () => {
    const { dma } = world({ copybreak: 2 ** 22 }, {}, {}, 16);
    const mapping = dma.mapSingle(pattern(262_145), 'to-device');
    expect(mapping.way).toBe('pinned');
    mapping.unmap();
    expect(dma.mapSingle(pattern(262_144), 'to-device').way).toBe('bounced');
  });

  it.each([2, 3, 4, 5, 8, 16, 31, 32, 33, 34, 40, 63, 64, 65, 100])(
    'are reached by any view in a window of %i pages',
    (pages) => {
      for (const [bounce, start] of [
        [{}, 0],
        [{ force: true }, 0],
        [{ total: 2 * PAGE, maxMapping: PAGE }, 3 * PAGE],
      ] as const) {
        const { dma } = world({ bounce }, { ranges: [{ start, end: start + pages * PAGE - 1 }] }, {}, 16);
        const { maxMappingSize, maxBounceSize } = dma.limits;
        for (const size of [maxMappingSize, maxBounceSize]) {
          const memory = new Uint8Array(size + PAGE);
          for (const at of [0, 1, 2048, PAGE - 16, PAGE - 1]) {
            dma.mapSingle(memory.subarray(at, at + size), 'bidirectional').unmap();
            dma.mapSg([memory.subarray(at, at + size)], 'bidirectional').unmap();
          }
        }
        dma.close();
      }
    },
  );

  it('say less when memory may have to be copied', () => {
    const { dma } = world({}, {}, {}, 16);
    dma.limits.dmaAlignment = 511;
    expect(dma.limits.maxMappingSize).toBe(dma.limits.maxBounceSize);
    expect(dma.limits.maxAlignedMappingSize).toBeGreaterThan(2 ** 28);
    dma.mapSingle(pattern(dma.limits.maxMappingSize), 'to-device').unmap();
    const aligned = new Uint8Array(2 ** 21).subarray(512 - 16);
    expect(dma.mapSingle(aligned, 'to-device').way).toBe('pinned');
  });

  it('tell when the mask leaves memory out', () => {
    const { dma } = world();
    expect(dma.addressingLimited).toBe(false);
    dma.setMask(dmaBitMask(31));
    expect(dma.addressingLimited).toBe(true);
    dma.setMask(dmaBitMask(64));
    expect(dma.addressingLimited).toBe(false);
  });
});
