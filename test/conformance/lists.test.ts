/** Scatter-gather (iommu_dma_map_sg, dma_direct_map_sg): what merges, what does not, all of it or nothing. */
import type { DmaDevice, SgMapping } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { DIRECTIONS, foreignPages, PAGE, pattern, refused, sameBytes, writes } from './bytes.ts';
import { COPYBREAK, isNarrow, type OpenWorld, worlds } from './worlds.ts';

/** An element of a list over one piece of memory: offset, length. */
type Element = readonly [number, number];

interface Row {
  readonly what: string;
  readonly elements: readonly Element[];
  /** Lengths of the segments where neighbours merge. */
  readonly merged: readonly number[];
  /** The same where all of it is copied, side by side whatever the order in memory. Default: `merged`. */
  readonly copied?: readonly number[];
  readonly maxSegmentSize?: number;
  readonly segmentBoundary?: number;
}

const pages = (...numbers: readonly number[]): Element[] => numbers.map((page) => [page * PAGE, PAGE]);

/** The rule of __finalise_sg, on memory of which every page follows the one before it. */
const ROWS: readonly Row[] = [
  { what: 'pages in order', elements: pages(0, 1, 2, 3), merged: [4 * PAGE] },
  { what: 'a page missing', elements: pages(0, 1, 3), merged: [2 * PAGE, PAGE], copied: [3 * PAGE] },
  {
    what: 'pages out of order',
    elements: pages(1, 0, 2),
    merged: [PAGE, PAGE, PAGE],
    copied: [3 * PAGE],
  },
  {
    what: 'the last ends inside a page',
    elements: [...pages(0, 1), [2 * PAGE, 100]],
    merged: [2 * PAGE + 100],
  },
  {
    what: 'the first starts inside a page',
    elements: [[100, PAGE - 100], ...pages(1)],
    merged: [2 * PAGE - 100],
  },
  {
    what: 'neighbours that meet inside a page',
    elements: [
      [0, 100],
      [100, PAGE - 100],
    ],
    merged: [100, PAGE - 100],
  },
  {
    what: 'a gap after a partial page',
    elements: [
      [0, 100],
      [PAGE, PAGE],
    ],
    merged: [100, PAGE],
  },
  {
    what: 'up to the longest segment',
    elements: pages(0, 1, 2),
    merged: [2 * PAGE, PAGE],
    maxSegmentSize: 2 * PAGE,
  },
  {
    what: 'a segment too short for two',
    elements: pages(0, 1),
    merged: [PAGE, PAGE],
    maxSegmentSize: 2 * PAGE - 1,
  },
  {
    what: 'an element longer than a segment stays whole',
    elements: [[0, 3 * PAGE], ...pages(3)],
    merged: [3 * PAGE, PAGE],
    maxSegmentSize: PAGE,
  },
  {
    what: 'not across the segment boundary',
    elements: pages(0, 1, 2, 3),
    merged: [2 * PAGE, 2 * PAGE],
    segmentBoundary: 2 * PAGE - 1,
  },
  { what: 'one element', elements: [[5, 7]], merged: [7] },
];

function slices(bytes: Uint8Array, elements: readonly Element[]): Uint8Array[] {
  return elements.map(([offset, length]) => bytes.subarray(offset, offset + length));
}

function lengths(mapping: SgMapping): number[] {
  return mapping.segments.map(({ length }) => length);
}

function setLimits(
  { limits }: DmaDevice,
  { maxSegmentSize = 65_536, segmentBoundary = 0xffff_ffff }: Row,
): void {
  limits.maxSegmentSize = maxSegmentSize;
  limits.segmentBoundary = segmentBoundary;
}

async function deviceReads(open: OpenWorld, mapping: SgMapping): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (const { dmaAddress, length } of mapping.segments) pieces.push(await open.read(dmaAddress, length));
  return new Uint8Array(Buffer.concat(pieces));
}

/** The last bytes of each segment, at most `most` of them, are those of the list. */
async function checkEnds(open: OpenWorld, mapping: SgMapping, list: Uint8Array, most: number): Promise<void> {
  let end = 0;
  for (const { dmaAddress, length } of mapping.segments) {
    end += length;
    const size = Math.min(length, most);
    const bytes = await open.read(dmaAddress + BigInt(length - size), size);
    sameBytes(bytes, list.subarray(end - size, end), 'the device');
  }
  assert.equal(end, list.length, 'bytes of all segments');
}

async function deviceWrites(open: OpenWorld, mapping: SgMapping, bytes: Uint8Array): Promise<void> {
  let at = 0;
  for (const { dmaAddress, length } of mapping.segments) {
    await open.write(dmaAddress, bytes.subarray(at, at + length));
    at += length;
  }
}

for (const world of worlds) {
  const merges = world.translated && !world.forced;

  describe(`lists: ${world.name}`, () => {
    for (const row of ROWS) {
      it(`${row.what}: ${world.translated ? 'merged where they meet' : 'never merged'}`, async () => {
        using open = await world.open();
        const { dma } = open;
        setLimits(dma, row);
        const { bytes } = dma.allocCoherent(16 * PAGE);
        bytes.set(pattern(bytes.length, 1));
        const views = slices(bytes, row.elements);
        const mapping = dma.mapSg(views, 'to-device');
        const whole = row.elements.map(([, length]) => length);
        assert.equal(mapping.nents, views.length);
        // Memory out of reach is given a run of its own, where neighbours meet that did not before.
        if (!world.translated) assert.deepEqual(lengths(mapping), whole);
        else if (world.forced) assert.deepEqual(lengths(mapping), row.copied ?? row.merged);
        else if (!isNarrow(world)) assert.deepEqual(lengths(mapping), row.merged);
        const { segmentBoundary = 0xffff_ffff } = row;
        for (const { dmaAddress, length } of mapping.segments) {
          const stride = BigInt(segmentBoundary + 1);
          assert.equal(
            dmaAddress / stride,
            (dmaAddress + BigInt(length) - 1n) / stride,
            'across the boundary',
          );
        }
        const list = new Uint8Array(Buffer.concat(views));
        await checkEnds(open, mapping, list, world.simulated ? Number.POSITIVE_INFINITY : 100);
        mapping.unmap();
        assert.throws(() => mapping.segments, { code: 'EINVAL' });
      });
    }

    it('pages that meet at mergeBoundary are one segment, copied or not, and the boundary is 0 where none are', async () => {
      using open = await world.open();
      const { dma } = open;
      assert.equal(dma.limits.mergeBoundary, world.translated ? PAGE - 1 : 0);
      // The last fill a segment of the largest size.
      for (const count of [2, 3, 65_536 / PAGE]) {
        const bytes = world.translated ? foreignPages(dma, count) : new Uint8Array(count * PAGE);
        bytes.set(pattern(bytes.length, 4));
        // The first starts, and the last ends, inside a page.
        for (const [first, last] of [
          [0, 0],
          [100, 7],
        ] as const) {
          const views = slices(bytes, pages(...Array(count).keys()));
          views[0] = views[0]!.subarray(first);
          views[count - 1] = views[count - 1]!.subarray(0, PAGE - last);
          const list = new Uint8Array(Buffer.concat(views));
          const mapping = dma.mapSg(views, 'bidirectional');
          assert.equal(mapping.segments.length, world.translated ? 1 : count, `${count} pages`);
          await checkEnds(open, mapping, list, world.simulated ? Number.POSITIVE_INFINITY : 100);
          await open.write(mapping.segments[0]!.dmaAddress, pattern(50, 5));
          mapping.unmap();
          sameBytes(views[0]!.subarray(0, 50), pattern(50, 5), 'what the device wrote');
          sameBytes(views[0]!.subarray(50), list.subarray(50, views[0]!.length), 'what it did not');
        }
      }
      assert.equal(dma.bounceStats.usedSlots, 0);
    });

    it('foreign whole pages are one run, padded by nothing and merged', async () => {
      if (!merges) return;
      using open = await world.open();
      const bytes = foreignPages(open.dma, 32);
      bytes.set(pattern(bytes.length, 2));
      open.dma.limits.maxSegmentSize = 4 * PAGE;
      const order = [5, 3, 9, 8, 1, 0, 30, 31, 12];
      const views = slices(bytes, pages(...order));
      using mapping = open.dma.mapSg(views, 'bidirectional');
      if (!world.simulated && mapping.way !== 'pinned') return;
      assert.equal(mapping.way, 'pinned');
      assert.deepEqual(lengths(mapping), [4 * PAGE, 4 * PAGE, PAGE], 'whatever their order in memory');
      if (!world.simulated) return;
      sameBytes(await deviceReads(open, mapping), new Uint8Array(Buffer.concat(views)), 'the device');
    });

    it('every way and direction: what goes in, what comes out, what a sync moves', async () => {
      using open = await world.open();
      const { dma } = open;
      const own = dma.allocCoherent(2 * PAGE).bytes;
      const noncoherent = dma.allocNoncoherent(PAGE, 'bidirectional').bytes;
      const foreign = new Uint8Array(COPYBREAK + 5000);
      const lists: Uint8Array[][] = [
        [own.subarray(0, PAGE), own.subarray(PAGE)],
        [own.subarray(10, 50), foreign.subarray(1, 300), noncoherent.subarray(0, 128)],
        [foreign.subarray(7, 1000), foreign.subarray(2000, 2001)],
        ...(world.simulated ? [[foreign, own]] : []),
      ];
      for (const views of lists) {
        for (const direction of world.simulated ? DIRECTIONS : (['bidirectional'] as const)) {
          const total = views.reduce((sum, view) => sum + view.length, 0);
          const [a, b, c] = [1, 2, 3].map((seed) => pattern(total, seed)) as [
            Uint8Array,
            Uint8Array,
            Uint8Array,
          ];
          const contents = () => new Uint8Array(Buffer.concat(views));
          spread(views, a);
          const mapping = dma.mapSg(views, direction);
          if (direction !== 'from-device') sameBytes(await deviceReads(open, mapping), a, 'after map');
          if (writes(direction)) await deviceWrites(open, mapping, b);
          mapping.syncForCpu();
          sameBytes(contents(), writes(direction) ? b : a, 'after sync for CPU');
          if (direction !== 'from-device') {
            spread(views, c);
            mapping.syncForDevice();
            sameBytes(await deviceReads(open, mapping), c, 'after sync for device');
          } else mapping.syncForDevice();
          if (writes(direction)) await deviceWrites(open, mapping, a);
          mapping.unmap();
          const left = direction === 'to-device' ? c : a;
          sameBytes(contents(), left, `after unmap, ${direction}`);
        }
      }
      assert.equal(dma.bounceStats.usedSlots, 0);
    });

    it('the same bytes twice in a list are two elements, and the device has both', async () => {
      using open = await world.open();
      const { dma } = open;
      const own = dma.allocCoherent(COPYBREAK).bytes;
      for (const bytes of [pattern(300, 1), pattern(COPYBREAK + 100, 2), own]) {
        const list = dma.mapSg([bytes, bytes.subarray(0, 100), bytes], 'to-device');
        assert.equal(list.size, 2 * bytes.length + 100);
        const seen: Uint8Array[] = [];
        for (const { dmaAddress, length } of list.segments) seen.push(await open.read(dmaAddress, length));
        sameBytes(Buffer.concat(seen), Buffer.concat([bytes, bytes.subarray(0, 100), bytes]), 'the list');
        list.unmap();
      }
    });

    it('100,000 entries are a list like any other', async () => {
      if (!world.simulated) return;
      using open = await world.open();
      const { dma } = open;
      const own = dma.allocNoncoherent(2 ** 18, 'bidirectional').bytes;
      own.set(pattern(2 ** 18, 3));
      const views = Array.from({ length: 100_000 }, (_, i) =>
        own.subarray((i % 1000) * 8, (i % 1000) * 8 + 8),
      );
      if (world.forced || isNarrow(world)) {
        // There are not so many bounce slots.
        assert.throws(() => dma.mapSg(views, 'to-device'), { code: 'ENOMEM' });
        assert.equal(dma.bounceStats.usedSlots, 0);
        return;
      }
      const list = dma.mapSg(views, 'to-device');
      assert.equal(list.nents, 100_000);
      assert.equal(list.size, 800_000);
      const last = list.segments.at(-1)!;
      sameBytes(await open.read(last.dmaAddress, last.length), views.at(-1)!, 'the last entry');
      list.unmap();
    });

    it('a failure leaves nothing mapped and no byte changed', async () => {
      using open = await world.open();
      const { dma } = open;
      const own = dma.allocCoherent(PAGE).bytes.fill(7);
      const small = new Uint8Array(500).fill(8);
      const gone = new Uint8Array(100);
      structuredClone(gone.buffer, { transfer: [gone.buffer] });
      const bad: Record<string, ArrayBufferView> = {
        empty: new Uint8Array(0),
        detached: gone,
        shared: new Uint8Array(new SharedArrayBuffer(64)),
        resizable: resizableView(64),
        'no view': { byteLength: 5 } as unknown as ArrayBufferView,
        nothing: undefined as unknown as ArrayBufferView,
      };
      for (const [what, view] of Object.entries(bad)) {
        for (const list of [[view], [view, own], [small, own, view], [own, view, small]]) {
          const { usedSlots } = dma.bounceStats;
          assert.throws(() => dma.mapSg(list, 'bidirectional'), { code: 'EINVAL' }, what);
          assert.equal(dma.bounceStats.usedSlots, usedSlots, what);
          assert.ok(own.every((byte) => byte === 7) && small.every((byte) => byte === 8), what);
        }
      }
      for (const list of [[], undefined, null, 'list', new Uint8Array(4), { length: 1, 0: own }]) {
        refused(dma, 'EINVAL', String(list), () => dma.mapSg(list as Uint8Array[], 'to-device'));
      }
      const most = 256 * 1024;
      if (merges) return;
      refused(dma, 'ENOMEM', 'too long', () => dma.mapSg([new Uint8Array(most + 1)], 'to-device'));
    });
  });
}

/** Lay `bytes` over the views, one after the other. */
function spread(views: readonly Uint8Array[], bytes: Uint8Array): void {
  let at = 0;
  for (const view of views) {
    view.set(bytes.subarray(at, at + view.length));
    at += view.length;
  }
}

function resizableView(size: number): Uint8Array {
  const Resizable = ArrayBuffer as unknown as new (size: number, options: object) => ArrayBuffer;
  return new Uint8Array(new Resizable(size, { maxByteLength: 2 * size }));
}
