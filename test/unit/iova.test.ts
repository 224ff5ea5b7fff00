import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { IovaRange } from '../../lib/iommu/address-space.ts';
import { IovaAllocator } from '../../lib/iommu/iova.ts';

const PAGE = 4096;
const GIB = 2 ** 30;
const ANY = Number.MAX_SAFE_INTEGER;
const mask = (bits: number): number => 2 ** bits - 1;
const flat = (bits: number): IovaRange[] => [{ start: 0, end: mask(bits) }];
/** What VFIO reports on a PC: everything but the MSI window. */
const PC: IovaRange[] = [
  { start: 0, end: 0xfedfffff },
  { start: 0xfef00000, end: 0x7fffffffff },
];

function powerOfTwoCeil(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}

describe('IovaAllocator: where allocations go', () => {
  const rows: [what: string, ranges: IovaRange[], page: number, size: number, limit: number, iova: number][] =
    [
      ['one page, top of 4 GiB first', flat(48), PAGE, 1, ANY, 0xfffff000],
      ['rounded up to a power of two', flat(48), PAGE, 3 * PAGE, ANY, 0xffffc000],
      ['aligned above the magazines too', flat(48), PAGE, 33 * PAGE, ANY, 0xfffc0000],
      ['below a hole', [PC[0]!], PAGE, PAGE, ANY, 0xfedff000],
      ['above the MSI window, still below 4 GiB', PC, PAGE, PAGE, ANY, 0xfffff000],
      ['too large for what is above the MSI window', PC, PAGE, 32 * 2 ** 20, ANY, 0xfc000000],
      ['a 28-bit mask', PC, PAGE, PAGE, mask(28), 0xffff000],
      ['a 12-bit mask has only page 0', PC, PAGE, PAGE, mask(12), -1],
      ['a 13-bit mask has one page', PC, PAGE, PAGE, mask(13), 0x1000],
      ['two pages do not fit under 13 bits', PC, PAGE, 2 * PAGE, mask(13), -1],
      ['one byte short of a page', flat(48), PAGE, PAGE, 0x2ffe, 0x1000],
      ['exactly a page', flat(48), PAGE, PAGE, 0x2fff, 0x2000],
      ['a bus limit of 3 GiB', flat(48), PAGE, PAGE, 3 * GIB - 1, 3 * GIB - PAGE],
      ['an odd limit', flat(48), PAGE, 2 * PAGE, 0x12345678, 0x12342000],
      ['no limit at all', flat(48), PAGE, PAGE, Number.POSITIVE_INFINITY, 0xfffff000],
      ['a limit of zero', flat(48), PAGE, PAGE, 0, -1],
      ['a negative limit', flat(48), PAGE, PAGE, -1, -1],
      ['not a limit', flat(48), PAGE, PAGE, Number.NaN, -1],
      ['odd ends are trimmed inwards', [{ start: 0x1001, end: 0x3ffe }], PAGE, PAGE, ANY, 0x2000],
      ['a window with no whole page', [{ start: 0x1001, end: 0x2ffe }], PAGE, PAGE, ANY, -1],
      [
        'windows that touch are one',
        [
          { start: 0x4000, end: 0x5fff },
          { start: 0x6000, end: 0x7fff },
        ],
        PAGE,
        4 * PAGE,
        ANY,
        0x4000,
      ],
      ['no windows', [], PAGE, PAGE, ANY, -1],
      ['only high windows', [{ start: 2 ** 40, end: 2 ** 41 - 1 }], PAGE, PAGE, ANY, 2 ** 41 - PAGE],
      ['only high windows, 32-bit mask', [{ start: 2 ** 40, end: 2 ** 41 - 1 }], PAGE, PAGE, mask(32), -1],
      [
        'a mask that cuts high windows',
        [{ start: 2 ** 33, end: 2 ** 48 - 1 }],
        PAGE,
        PAGE,
        mask(40),
        2 ** 40 - PAGE,
      ],
      [
        'the last page below 2^53 is kept back',
        [{ start: 2 ** 52, end: ANY }],
        PAGE,
        PAGE,
        ANY,
        2 ** 53 - 2 * PAGE,
      ],
      ['16 KiB pages', flat(48), 16384, 1, ANY, 0xffffc000],
      ['16 KiB pages, page 0', flat(48), 16384, 1, 0x7fff, 0x4000],
      ['64 KiB pages', flat(48), 65536, 65537, ANY, 0xfffe0000],
      ['2 GiB under 32 bits', flat(48), PAGE, 2 * GIB, mask(32), 2 * GIB],
      ['3 GiB never fit under 32 bits: aligned to 4 GiB', flat(48), PAGE, 3 * GIB, mask(32), -1],
      [
        '3 GiB at the end of a window that a whole block would leave',
        [{ start: 0, end: 7 * GIB - 1 }],
        PAGE,
        3 * GIB,
        ANY,
        4 * GIB,
      ],
      ['3 GiB under a limit that a whole block would pass', flat(48), PAGE, 3 * GIB, 7 * GIB - 1, 4 * GIB],
      ['4 GiB', flat(48), PAGE, 4 * GIB, mask(34), 12 * GIB],
      ['5 GiB, aligned to 8', flat(48), PAGE, 5 * GIB, mask(34), 8 * GIB],
      ['5 GiB, one byte short', flat(48), PAGE, 5 * GIB, 13 * GIB - 2, -1],
      ['a third of the space', flat(48), PAGE, 2 ** 46, ANY, 2 ** 48 - 2 ** 46],
      ['more than there is', flat(48), PAGE, 2 ** 48, ANY, -1],
      ['the largest number', flat(48), PAGE, ANY, ANY, -1],
    ];
  it.each(rows)('%s', (_what, ranges, page, size, limit, iova) => {
    const space = new IovaAllocator(ranges, page);
    expect(space.supports(limit, size)).toBe(iova >= 0);
    expect(space.alloc(size, limit)).toBe(iova);
    if (iova < 0) return;
    expect(space.alloc(size, limit)).not.toBe(iova);
    expect(space.free(iova, size)).toBe(true);
  });

  it('descends', () => {
    const space = new IovaAllocator(flat(48), PAGE);
    const taken = Array.from({ length: 4 }, () => space.alloc(PAGE, ANY));
    expect(taken).toEqual([0xfffff000, 0xffffe000, 0xffffd000, 0xffffc000]);
  });

  it('goes above 4 GiB only when nothing is left below, then from the top down', () => {
    const space = new IovaAllocator([{ start: 0xffff0000, end: 2 ** 48 - 1 }], PAGE);
    const low = Array.from({ length: 16 }, () => space.alloc(PAGE, ANY));
    expect(Math.min(...low)).toBe(0xffff0000);
    expect(Math.max(...low)).toBe(0xfffff000);
    expect(space.alloc(PAGE, ANY)).toBe(2 ** 48 - PAGE);
    expect(space.alloc(PAGE, ANY)).toBe(2 ** 48 - 2 * PAGE);
    expect(space.alloc(PAGE, mask(40))).toBe(2 ** 40 - PAGE);
    expect(space.alloc(PAGE, mask(41))).toBe(2 ** 41 - PAGE);
    expect(space.alloc(PAGE, mask(32))).toBe(-1);
    space.free(0xffff3000, PAGE);
    expect(space.alloc(PAGE, ANY)).toBe(0xffff3000);
  });

  it('goes below 4 GiB again as soon as there is room, whatever is cached above', () => {
    const space = new IovaAllocator([{ start: 4 * GIB - 2 ** 20, end: 2 ** 48 - 1 }], PAGE);
    const low = space.alloc(2 ** 20, ANY);
    const high = space.alloc(PAGE, ANY);
    expect([low, high]).toEqual([4 * GIB - 2 ** 20, 2 ** 48 - PAGE]);
    space.free(high, PAGE);
    space.free(low, 2 ** 20);
    expect(space.alloc(PAGE, ANY)).toBe(4 * GIB - PAGE);
    expect(space.alloc(2 ** 20, ANY)).toBe(2 ** 48 - 2 ** 21);
    for (let pages = 255; pages > 0; pages--) expect(space.alloc(PAGE, ANY)).toBeLessThan(4 * GIB);
    expect(space.alloc(PAGE, ANY)).toBe(high);
  });

  it('never hands out page 0 nor a page twice: a small space is exhausted exactly', () => {
    const space = new IovaAllocator([{ start: 0, end: 0xfffff }], PAGE);
    const seen = new Set<number>();
    for (let iova = space.alloc(PAGE, ANY); iova >= 0; iova = space.alloc(PAGE, ANY)) seen.add(iova);
    expect(seen.size).toBe(255);
    expect(seen.has(0)).toBe(false);
    expect(space.used).toBe(255 * PAGE);
  });

  it('a wide mask takes no cached block that a narrow one freed, while it has its own', () => {
    const space = new IovaAllocator(flat(48), PAGE);
    const narrow = space.alloc(PAGE, mask(24));
    const wide = space.alloc(PAGE, mask(32));
    space.free(wide, PAGE);
    space.free(narrow, PAGE);
    expect(space.alloc(PAGE, mask(32))).toBe(wide);
    expect(space.alloc(PAGE, mask(24))).toBe(narrow);
  });

  it('honours more limits than there are magazine banks', () => {
    const space = new IovaAllocator(flat(40), PAGE);
    for (let round = 0; round < 3; round++) {
      const live: number[] = [];
      for (let bits = 13; bits < 40; bits++) {
        const iova = space.alloc(PAGE, mask(bits));
        if (iova < 0) continue;
        expect(iova + PAGE - 1).toBeLessThanOrEqual(mask(bits));
        live.push(iova);
      }
      expect(live.length).toBeGreaterThan(20);
      expect(new Set(live).size).toBe(live.length);
      for (const iova of live) expect(space.free(iova, PAGE)).toBe(true);
    }
    expect(space.alloc(PAGE, mask(13))).toBe(PAGE);
  });
});

describe('IovaAllocator: giving back', () => {
  const sizes = [1, PAGE, 3 * PAGE, 32 * PAGE, 33 * PAGE, 3 * GIB, 4 * GIB, 5 * GIB + PAGE, 16 * GIB];
  it.each(sizes)('a free of something else changes nothing (%d bytes)', (size) => {
    const space = new IovaAllocator(flat(48), PAGE);
    const iova = space.alloc(size, ANY);
    const { used } = space;
    const wrong: [number, number][] = [
      [iova, size + PAGE],
      [iova, 2 * size + PAGE],
      [iova, 0],
      [iova, -size],
      [iova, Number.NaN],
      [iova, size + 0.5],
      [iova + PAGE, size],
      [iova + 2 * PAGE, PAGE],
      [iova - PAGE, size],
      [iova + 1, size],
      [iova + 0.5, size],
      [-iova, size],
      [0, size],
      [2 ** 47, size],
      [2 ** 60, size],
      [Number.NaN, size],
      [Number.POSITIVE_INFINITY, size],
    ];
    for (const [address, bytes] of wrong)
      expect([address, bytes, space.free(address, bytes)]).toEqual([address, bytes, false]);
    expect(space.used).toBe(used);
    expect(space.free(iova, size)).toBe(true);
    expect(space.free(iova, size)).toBe(false);
    expect(space.used).toBe(0);
    expect(space.alloc(size, ANY)).toBe(iova);
  });

  it('a block freed twice is handed out once', () => {
    const space = new IovaAllocator(flat(48), PAGE);
    const iova = space.alloc(PAGE, ANY);
    expect([space.free(iova, PAGE), space.free(iova, PAGE)]).toEqual([true, false]);
    expect(space.alloc(PAGE, ANY)).toBe(iova);
    expect(space.alloc(PAGE, ANY)).not.toBe(iova);
  });

  it('cached pages merge before a request is refused', () => {
    const space = new IovaAllocator([{ start: 2 ** 20, end: 2 ** 21 - 1 }], PAGE);
    const pages = Array.from({ length: 256 }, () => space.alloc(PAGE, ANY));
    expect(space.alloc(PAGE, ANY)).toBe(-1);
    for (const page of pages) space.free(page, PAGE);
    expect(space.alloc(2 ** 20, ANY)).toBe(2 ** 20);
  });

  it('holds many more than a magazine, above and below 4 GiB', () => {
    const space = new IovaAllocator([{ start: 4 * GIB - 2 ** 22, end: 4 * GIB + 2 ** 22 - 1 }], PAGE);
    const pages = Array.from({ length: 2048 }, () => space.alloc(PAGE, ANY));
    expect(new Set(pages).size).toBe(2048);
    expect(space.alloc(PAGE, ANY)).toBe(-1);
    for (const page of pages) expect(space.free(page, PAGE)).toBe(true);
    expect(space.alloc(2 ** 22, ANY)).toBe(4 * GIB - 2 ** 22);
    expect(space.alloc(2 ** 22, ANY)).toBe(4 * GIB);
  });

  it('tells spans apart that lie 2^40 apart', () => {
    const ranges = [1, 2, 3].map((n) => ({ start: n * 2 ** 40, end: n * 2 ** 40 + 2 * PAGE - 1 }));
    const space = new IovaAllocator(ranges, PAGE);
    const taken = Array.from({ length: 6 }, () => space.alloc(PAGE, ANY));
    expect(taken).toEqual([3, 3, 2, 2, 1, 1].map((n, i) => n * 2 ** 40 + (i % 2 === 0 ? PAGE : 0)));
    expect(space.free(taken[0]!, PAGE)).toBe(true);
    expect(space.free(taken[0]!, PAGE)).toBe(false);
    for (const iova of taken.slice(1)) expect(space.free(iova, PAGE)).toBe(true);
    expect(space.used).toBe(0);
  });

  it('a huge allocation shares neither its spans nor the pages of its tail', () => {
    const space = new IovaAllocator(flat(34), PAGE);
    const tail = 8 * GIB + 4 * GIB;
    const huge = space.alloc(4 * GIB + 2 * PAGE, ANY);
    expect(huge).toBe(8 * GIB);
    expect(space.alloc(5 * GIB, ANY)).toBe(-1);
    const seen: number[] = [];
    for (let iova = space.alloc(GIB / 2, ANY); iova >= 0; iova = space.alloc(GIB / 2, ANY)) seen.push(iova);
    expect(seen.filter((iova) => iova >= huge && iova <= tail)).toEqual([]);
    expect(seen.length).toBe(7 + 8 + 7);
    for (const iova of seen) space.free(iova, GIB / 2);
    expect(space.free(huge, 4 * GIB + 2 * PAGE)).toBe(true);
    expect(space.alloc(8 * GIB, ANY)).toBe(8 * GIB);
  });

  it('a block goes to who can reach it, when masks end inside 4 GiB', () => {
    const space = new IovaAllocator(flat(48), PAGE);
    const narrow = space.alloc(PAGE, mask(30));
    const wide = space.alloc(PAGE, ANY);
    expect(space.free(narrow, PAGE) && space.free(wide, PAGE)).toBe(true);
    expect([space.alloc(PAGE, mask(30)), space.alloc(PAGE, ANY)]).toEqual([narrow, wide]);
  });

  it('a mask that is new after many frees reaches what was freed', () => {
    const space = new IovaAllocator([{ start: 0, end: mask(31) }], PAGE);
    const [first, second] = [space.alloc(PAGE, mask(28)), space.alloc(PAGE, ANY)];
    expect(space.free(second, PAGE) && space.free(first, PAGE)).toBe(true);
    expect(space.alloc(PAGE, mask(29))).toBe(2 ** 29 - PAGE);
    expect(space.alloc(PAGE, ANY)).toBe(second);
  });
});

describe('IovaAllocator: bad arguments', () => {
  it.each([0, -1, 0.5, 4096.5, Number.NaN, 2 ** 53])('size %d is EINVAL', (size) => {
    const space = new IovaAllocator(flat(48), PAGE);
    expect(() => space.alloc(size, ANY)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => space.supports(ANY, size)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(space.used).toBe(0);
  });

  it.each([0, 1, 2048, 6000, -4096, Number.NaN, 2 ** 21])('page size %d is EINVAL', (page) => {
    expect(() => new IovaAllocator(flat(48), page)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  it.each<[string, IovaRange[]]>([
    [
      'overlapping',
      [
        { start: 0, end: 0x1000 },
        { start: 0x1000, end: 0x2000 },
      ],
    ],
    [
      'descending',
      [
        { start: 0x10000, end: 0x1ffff },
        { start: 0, end: 0xfff },
      ],
    ],
    ['empty', [{ start: 0x2000, end: 0x1fff }]],
    ['beyond 2^53', [{ start: 0, end: 2 ** 53 }]],
    ['negative', [{ start: -1, end: 0x1fff }]],
  ])('%s ranges are EINVAL', (_what, ranges) => {
    expect(() => new IovaAllocator(ranges, PAGE)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});

/** The slow truth: a list of what is taken. */
class Reference {
  readonly live: { iova: number; size: number; bytes: number }[] = [];
  private readonly windows: { start: number; end: number }[];
  private readonly page: number;

  constructor(ranges: readonly IovaRange[], page: number) {
    this.page = page;
    this.windows = ranges
      .map(({ start, end }) => ({
        start: Math.max(page, Math.ceil(start / page) * page),
        end: Math.floor((end + 1) / page) * page,
      }))
      .filter(({ start, end }) => start < end);
  }

  /** What an allocation of `size` takes, and to what it is aligned. */
  footprint(size: number): { bytes: number; align: number } {
    const bytes = Math.ceil(size / this.page) * this.page;
    const align = powerOfTwoCeil(bytes);
    return { bytes: bytes <= 32 * this.page ? align : bytes, align };
  }

  /** Is [start, end) usable and free? */
  isFree(start: number, end: number): boolean {
    if (!this.windows.some((w) => start >= w.start && end <= w.end)) return false;
    return this.live.every(({ iova, bytes }) => end <= iova || start >= iova + bytes);
  }

  /** Aligned places where the whole power of two is free, or all of it that its window has. */
  hasPlace(size: number, limit: number): boolean {
    const { bytes, align } = this.footprint(size);
    for (const w of this.windows) {
      for (let start = Math.ceil(w.start / align) * align; start + bytes <= w.end; start += align) {
        if (start + bytes - 1 > limit) break;
        if (this.isFree(start, Math.max(start + bytes, Math.min(start + align, w.end)))) return true;
      }
    }
    return false;
  }
}

/** Windows around the places where something changes: page 0, powers of two, 4 GiB, a span. */
function windowsNear(centres: readonly number[], span: number): fc.Arbitrary<IovaRange[]> {
  const ends = fc.uniqueArray(
    fc.record({ centre: fc.constantFrom(...centres), offset: fc.integer({ min: -span, max: span }) }),
    { minLength: 2, maxLength: 6, selector: ({ centre, offset }) => Math.max(0, centre + offset) },
  );
  return ends.map((cuts) => {
    const points = cuts.map(({ centre, offset }) => Math.max(0, centre + offset)).sort((a, b) => a - b);
    const ranges: IovaRange[] = [];
    for (let i = 0; i + 1 < points.length; i += 2)
      ranges.push({ start: points[i]!, end: points[i + 1]! - 1 });
    return ranges;
  });
}

function agrees(
  ranges: IovaRange[],
  page: number,
  sizes: fc.Arbitrary<number>,
  limits: fc.Arbitrary<number>,
): fc.Arbitrary<() => void> {
  const step = fc.record({
    size: sizes,
    limit: limits,
    pick: fc.nat(),
    what: fc.constantFrom('alloc', 'alloc', 'free'),
  });
  return fc.array(step, { maxLength: 80 }).map((steps) => () => {
    const space = new IovaAllocator(ranges, page);
    const reference = new Reference(ranges, page);
    for (const { size, limit, pick, what } of steps) {
      if (what === 'free' && reference.live.length > 0) {
        const [gone] = reference.live.splice(pick % reference.live.length, 1);
        expect(space.free(gone!.iova, gone!.size + page)).toBe(false);
        expect(space.free(gone!.iova, gone!.size)).toBe(true);
        expect(space.free(gone!.iova, gone!.size)).toBe(false);
      } else {
        const { bytes, align } = reference.footprint(size);
        const iova = space.alloc(size, limit);
        if (iova === -1) {
          expect({ size, limit, fits: reference.hasPlace(size, limit) }).toEqual({
            size,
            limit,
            fits: false,
          });
        } else {
          expect(iova % align).toBe(0);
          expect(iova + bytes - 1).toBeLessThanOrEqual(limit);
          expect({ iova, free: reference.isFree(iova, iova + bytes) }).toEqual({ iova, free: true });
          reference.live.push({ iova, size, bytes });
        }
      }
      expect(space.used).toBe(reference.live.reduce((sum, { bytes }) => sum + bytes, 0));
    }
    for (const { iova, size } of reference.live.splice(0)) expect(space.free(iova, size)).toBe(true);
    expect(space.used).toBe(0);
    for (const { size, limit } of steps) {
      const iova = space.alloc(size, limit);
      expect({ size, limit, fits: iova >= 0 }).toEqual({ size, limit, fits: space.supports(limit, size) });
      if (iova >= 0) space.free(iova, size);
    }
  });
}

describe('IovaAllocator against a list of intervals', () => {
  const pages = fc.constantFrom(4096, 16384, 65536);

  it('small spaces, every kind of limit', () => {
    const scenario = fc
      .tuple(windowsNear([0, 2 ** 20, 2 ** 21, 2 ** 32, 2 ** 33], 2 ** 20), pages)
      .chain(([ranges, page]) => {
        const top = ranges.at(-1)!.end;
        const limits = fc.oneof(
          fc.integer({ min: 12, max: 34 }).map(mask),
          fc.nat({ max: top + page }),
          fc.constant(ANY),
        );
        const sizes = fc.oneof(fc.integer({ min: 1, max: 8 * page }), fc.integer({ min: 1, max: 2 ** 21 }));
        return agrees(ranges, page, sizes, limits);
      });
    fc.assert(
      fc.property(scenario, (run) => run()),
      { numRuns: 300 },
    );
  });

  it('allocations of many GiB among small ones', () => {
    const scenario = windowsNear([0, 2 ** 32, 2 ** 34, 2 ** 35, 2 ** 36], 2 ** 33).chain((ranges) => {
      const limits = fc.oneof(
        fc.integer({ min: 31, max: 38 }).map(mask),
        fc.nat({ max: 2 ** 37 }),
        fc.constant(ANY),
      );
      const sizes = fc.oneof(
        fc.integer({ min: 1, max: 2 ** 34 }),
        fc.integer({ min: 2 ** 29, max: 2 ** 33 }),
        fc.constant(PAGE),
      );
      return agrees(ranges, PAGE, sizes, limits);
    });
    fc.assert(
      fc.property(scenario, (run) => run()),
      { numRuns: 200 },
    );
  });
});
