import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import {
  crossesBoundary,
  planRun,
  type RunElement,
  type SegmentLimits,
  SegmentList,
} from '../../lib/dma/placement/segments.ts';

const K = 1024;
const PCI: SegmentLimits = { granule: 4 * K, maxSegmentSize: 64 * K, segmentBoundary: 0xffff_ffff };

type Segment = readonly [address: number, length: number];

function segmentsOf(list: SegmentList): Segment[] {
  return Array.from({ length: list.count }, (_, i) => [list.addresses[i]!, list.lengths[i]!]);
}

/** The rule in the words of kernel-api: what a list becomes, element by element, with state instead of adjacency. */
function reference(
  elements: readonly RunElement[],
  limits: SegmentLimits,
): { total: number; segments: Segment[] } {
  const { granule, maxSegmentSize, segmentBoundary } = limits;
  const slots: { at: number; start: number; length: number; room: number }[] = [];
  let total = 0;
  for (const { start, length } of elements) {
    const room = Math.ceil((start + length) / granule) * granule;
    const padding = (segmentBoundary + 1 - (total % (segmentBoundary + 1))) % (segmentBoundary + 1);
    if (padding > 0 && padding < room) {
      slots.at(-1)!.room += padding;
      total += padding;
    }
    slots.push({ at: total, start, length, room });
    total += room;
  }
  const segments: [number, number][] = [];
  let current = 0;
  for (const { at, start, length, room } of slots) {
    const boundary = at % (segmentBoundary + 1) === 0;
    if (current > 0 && start === 0 && !boundary && current + length <= maxSegmentSize) {
      current += length;
      segments.at(-1)![1] = current;
    } else {
      current = length;
      segments.push([at + start, length]);
    }
    if (start + length < room) current = 0;
  }
  return { total, segments };
}

interface Row {
  readonly name: string;
  readonly elements: readonly Segment[];
  readonly limits?: Partial<SegmentLimits>;
  readonly total: number;
  readonly segments: readonly Segment[];
}

const ROWS: readonly Row[] = [
  { name: 'one page', elements: [[0, 4 * K]], total: 4 * K, segments: [[0, 4 * K]] },
  { name: 'one byte takes a granule', elements: [[0, 1]], total: 4 * K, segments: [[0, 1]] },
  { name: 'an offset is kept in the granule', elements: [[100, 8]], total: 4 * K, segments: [[100, 8]] },
  {
    name: 'an element that straddles granules takes both',
    elements: [[4000, 200]],
    total: 8 * K,
    segments: [[4000, 200]],
  },
  {
    name: 'whole pages merge',
    elements: [
      [0, 4 * K],
      [0, 8 * K],
      [0, 4 * K],
    ],
    total: 16 * K,
    segments: [[0, 16 * K]],
  },
  {
    name: 'the first may start and the last may end inside a granule',
    elements: [
      [1000, 3096],
      [0, 4 * K],
      [0, 10],
    ],
    total: 12 * K,
    segments: [[1000, 3096 + 4 * K + 10]],
  },
  {
    name: 'no merging after one that ends inside a granule',
    elements: [
      [0, 4095],
      [0, 4 * K],
    ],
    total: 8 * K,
    segments: [
      [0, 4095],
      [4 * K, 4 * K],
    ],
  },
  {
    name: 'no merging of one that starts inside a granule',
    elements: [
      [0, 4 * K],
      [4, 4092],
      [0, 4 * K],
    ],
    total: 12 * K,
    segments: [
      [0, 4 * K],
      [4 * K + 4, 4092 + 4 * K],
    ],
  },
  {
    name: 'merging stops at the longest segment, exactly',
    elements: [
      [0, 4 * K],
      [0, 4 * K],
      [0, 4 * K],
    ],
    limits: { maxSegmentSize: 8 * K },
    total: 12 * K,
    segments: [
      [0, 8 * K],
      [8 * K, 4 * K],
    ],
  },
  {
    name: 'an element longer than the longest segment is not split, and nothing joins it',
    elements: [
      [0, 12 * K],
      [0, 4 * K],
    ],
    limits: { maxSegmentSize: 8 * K },
    total: 16 * K,
    segments: [
      [0, 12 * K],
      [12 * K, 4 * K],
    ],
  },
  {
    name: 'a segment ends at the boundary',
    elements: [
      [0, 4 * K],
      [0, 4 * K],
      [0, 4 * K],
    ],
    limits: { segmentBoundary: 8 * K - 1 },
    total: 12 * K,
    segments: [
      [0, 8 * K],
      [8 * K, 4 * K],
    ],
  },
  {
    name: 'padding before an element that would cross the boundary',
    elements: [
      [0, 12 * K],
      [0, 8 * K],
    ],
    limits: { segmentBoundary: 16 * K - 1 },
    total: 24 * K,
    segments: [
      [0, 12 * K],
      [16 * K, 8 * K],
    ],
  },
  {
    name: 'an element longer than the boundary starts on it',
    elements: [
      [0, 4 * K],
      [0, 12 * K],
    ],
    limits: { segmentBoundary: 8 * K - 1 },
    total: 20 * K,
    segments: [
      [0, 4 * K],
      [8 * K, 12 * K],
    ],
  },
  {
    name: 'a 16 KiB granule',
    elements: [
      [0, 16 * K],
      [0, 4 * K],
      [0, 16 * K],
    ],
    limits: { granule: 16 * K },
    total: 48 * K,
    segments: [
      [0, 20 * K],
      [32 * K, 16 * K],
    ],
  },
];

describe('planRun', () => {
  for (const { name, elements, limits, total, segments } of ROWS) {
    it(name, () => {
      const plan = planRun(
        elements.map(([start, length]) => ({ start, length })),
        { ...PCI, ...limits },
      );
      assert.equal(plan.total, total);
      assert.deepEqual(segmentsOf(plan.segments), segments);
    });
  }

  const cases = fc
    .record({
      granule: fc.constantFrom(4 * K, 16 * K),
      maxSegmentSize: fc.constantFrom(4 * K, 64 * K, 100_000, 2 ** 32 - 1),
      segmentBoundary: fc.constantFrom(16 * K - 1, 64 * K - 1, 0xffff_ffff, Number.MAX_SAFE_INTEGER),
    })
    .chain((limits) => {
      const start = fc.oneof(fc.constant(0), fc.nat(limits.granule - 1));
      const length = fc.oneof(
        fc.integer({ min: 1, max: 8 }).map((granules) => granules * limits.granule),
        fc.integer({ min: 1, max: 200_000 }),
      );
      const elements = fc.array(fc.record({ start, length }), { minLength: 1, maxLength: 40 });
      return fc.record({ limits: fc.constant(limits), elements });
    });

  it('agrees with the rule written as the kernel tells it', () => {
    fc.assert(
      fc.property(cases, ({ limits, elements }) => {
        const plan = planRun(elements, limits);
        const { total, segments } = reference(elements, limits);
        assert.equal(plan.total, total);
        assert.deepEqual(segmentsOf(plan.segments), segments);
      }),
      { numRuns: 2000 },
    );
  });

  it('keeps every byte, the order, the granules, the boundary and the longest segment', () => {
    fc.assert(
      fc.property(cases, ({ limits, elements }) => {
        const { total, offsets, segments } = planRun(elements, limits);
        let end = 0;
        elements.forEach(({ start, length }, i) => {
          assert.equal(offsets[i]! % limits.granule, start);
          assert.ok(offsets[i]! - start >= end, 'no granule belongs to two elements');
          end = Math.ceil((offsets[i]! + length) / limits.granule) * limits.granule;
        });
        assert.equal(end, total);
        const list = segmentsOf(segments);
        const bytes = (lengths: number[]) => lengths.reduce((sum, length) => sum + length, 0);
        assert.equal(bytes(list.map(([, length]) => length)), bytes(elements.map(({ length }) => length)));
        // Walking segments and elements together: segments are runs of whole elements, in order.
        let i = 0;
        for (const [address, length] of list) {
          const first = i;
          for (let at = address; at < address + length; i++) {
            assert.equal(offsets[i], at);
            at += elements[i]!.length;
          }
          const crossing = (from: number, size: number) =>
            crossesBoundary(from, size, limits.segmentBoundary);
          const inside = elements.slice(first, i);
          const itself = inside.some((element, k) => crossing(offsets[first + k]!, element.length));
          assert.ok(inside.length === 1 || length <= limits.maxSegmentSize);
          assert.ok(itself || !crossing(address, length), `${address}+${length} crosses the boundary`);
          assert.ok(!itself || inside.some((e) => e.start + e.length > limits.segmentBoundary + 1));
        }
        assert.equal(i, elements.length);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('SegmentList', () => {
  const push = (limits: Partial<SegmentLimits>, ...elements: Segment[]) => {
    const list = new SegmentList({ ...PCI, ...limits }, 1);
    for (const [address, length] of elements) list.push(address, length);
    return segmentsOf(list);
  };

  it('merges what meets on a granule', () => {
    assert.deepEqual(push({}, [0x1000, 0x1000], [0x2000, 0x10]), [[0x1000, 0x1010]]);
  });

  it('does not merge what meets inside a granule, is apart, or runs backwards', () => {
    for (const second of [0x1800, 0x3000, 0x800]) {
      const length = second === 0x1800 ? 0x800 : 0x1000;
      assert.equal(push({}, [0x1000, length], [second, 0x800]).length, 2);
    }
  });

  it('does not merge at a multiple of 4 GiB, where only the high words differ', () => {
    const gib4 = 2 ** 32;
    assert.equal(push({}, [gib4 - 0x1000, 0x1000], [gib4, 0x1000]).length, 2);
    assert.equal(push({ segmentBoundary: 2 ** 40 - 1 }, [gib4 - 0x1000, 0x1000], [gib4, 0x1000]).length, 1);
    assert.equal(
      push({ segmentBoundary: 2 ** 40 - 1 }, [2 ** 40 - 0x1000, 0x1000], [2 ** 40, 0x1000]).length,
      2,
    );
    assert.equal(push({}, [gib4 + 0x1000, 0x1000], [gib4 + 0x2000, 0x1000]).length, 1);
    assert.equal(push({}, [0x8000_0000, 0x1000], [0x8000_1000, 0x1000]).length, 1);
  });

  it('starts over after reset, and nothing stale takes part', () => {
    const list = new SegmentList(PCI);
    list.push(0x1000, 0x1000);
    list.reset(PCI);
    list.push(0x2000, 0x1000);
    assert.deepEqual(segmentsOf(list), [[0x2000, 0x1000]]);
  });

  it('grows as far as the list does', () => {
    const elements = Array.from({ length: 1000 }, (_, i): Segment => [i * 0x2000, 0x1000]);
    assert.deepEqual(push({}, ...elements), elements);
  });
});
