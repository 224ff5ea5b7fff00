/**
 * Lengths and offsets around the cache line, the bounce slot and the page, for single mappings and lists, for every
 * kind of memory and direction: the device sees the bytes of the view and of nothing else, and so does the CPU.
 */
import type { DmaDevice, DmaDirection } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { DIRECTIONS, PAGE, pattern, reads, sameBytes, writes } from './bytes.ts';
import { COPYBREAK, type OpenWorld, type World, wayOf, worlds } from './worlds.ts';

/** Memory that a view is made of: `size` bytes, and what they are called. */
type Kind = 'coherent' | 'noncoherent' | 'pool' | 'foreign' | 'Buffer slab';
const KINDS: readonly Kind[] = ['coherent', 'noncoherent', 'pool', 'foreign', 'Buffer slab'];

const LENGTHS = [1, 2, 63, 64, 65, 127, 128, 2047, 2048, 2049, 4095, 4096, 4097, 8191, 8192, 8193, 12_289];
const OFFSETS = [0, 1, 63, 64, 65, 2047, 2048, 4095, 4096, 4097];
/** Above the copybreak: whole pages and partial ones at both ends. */
const LONG_LENGTHS = [COPYBREAK - 1, COPYBREAK, COPYBREAK + 1, COPYBREAK + PAGE, 65_535, 65_537];

interface Matrix {
  readonly lengths: readonly number[];
  readonly offsets: readonly number[];
  readonly directions: readonly DmaDirection[];
}

/** On hardware every 4,095 bytes cost two transfers each way. */
const FEW: Matrix = { lengths: [65, 4097], offsets: [63], directions: ['bidirectional'] };
const ALL: Matrix = { lengths: LENGTHS, offsets: OFFSETS, directions: DIRECTIONS };
const FEW_LONG: Matrix = { lengths: [COPYBREAK + 1], offsets: [4095], directions: ['bidirectional'] };
const ALL_LONG: Matrix = { lengths: LONG_LENGTHS, offsets: OFFSETS, directions: DIRECTIONS };

/** Bytes on both sides of a view that must stay as they are. */
const GUARD = 128;

function memory(dma: DmaDevice, kind: Kind, size: number): Uint8Array {
  if (kind === 'coherent') return dma.allocCoherent(size).bytes;
  if (kind === 'noncoherent') return dma.allocNoncoherent(size, 'bidirectional').bytes;
  if (kind === 'pool') return dma.createPool('matrix', { size }).alloc()!.bytes;
  return kind === 'foreign' ? new Uint8Array(size) : Buffer.concat([new Uint8Array(size)]);
}

function isOwn(kind: Kind): boolean {
  return kind !== 'foreign' && kind !== 'Buffer slab';
}

/** One cell: a mapping goes through its life, and nothing around it changes. */
async function checkSingle(
  world: World,
  open: OpenWorld,
  kind: Kind,
  room: Uint8Array,
  offset: number,
  length: number,
  direction: DmaDirection,
): Promise<void> {
  const what = `${kind}, ${length} bytes at ${offset}, ${direction}`;
  room.set(pattern(room.length, 3));
  const before = Uint8Array.from(room);
  const view = room.subarray(GUARD + offset, GUARD + offset + length);
  const given = Uint8Array.from(view);
  const mapping = open.dma.mapSingle(view, direction);
  assert.equal(mapping.way, wayOf(world, isOwn(kind) ? 'own' : 'foreign', length), what);
  assert.equal(mapping.size, length, what);
  if (reads(direction)) sameBytes(await open.read(mapping.dmaAddress, length), given, `${what}: the device`);
  const written = pattern(length, 4);
  if (writes(direction)) await open.write(mapping.dmaAddress, written);
  mapping.unmap();
  if (writes(direction)) before.set(written, GUARD + offset);
  sameBytes(room, before, `${what}: the CPU`);
}

/** The same for a list of three: one at `offset`, a whole page, and one of `length` at the start of a page. */
async function checkList(
  open: OpenWorld,
  kind: Kind,
  room: Uint8Array,
  offset: number,
  length: number,
  direction: DmaDirection,
): Promise<void> {
  const what = `list of ${kind}, ${length} bytes at ${offset}, ${direction}`;
  room.set(pattern(room.length, 5));
  const before = Uint8Array.from(room);
  const third = Math.ceil((offset + length + GUARD) / PAGE) * PAGE + PAGE;
  const places = [
    [GUARD + offset, length],
    [third - PAGE + 64, PAGE - 64],
    [third + PAGE, length],
  ] as const;
  const views = places.map(([at, size]) => room.subarray(at, at + size));
  const mapping = open.dma.mapSg(views, direction);
  const { segments } = mapping;
  assert.ok(segments.length <= 3, what);
  let at = 0;
  const total = length * 2 + PAGE - 64;
  assert.equal(mapping.size, total, what);
  const seen = new Uint8Array(total);
  const written = pattern(total, 6);
  for (const segment of segments) {
    const { dmaAddress, length: size } = segment;
    if (reads(direction)) seen.set(await open.read(dmaAddress, size), at);
    if (writes(direction)) await open.write(dmaAddress, written.subarray(at, at + size));
    at += size;
  }
  assert.equal(at, total, `${what}: segments`);
  const given = new Uint8Array(
    Buffer.concat(places.map(([from, size]) => before.subarray(from, from + size))),
  );
  if (reads(direction)) sameBytes(seen, given, `${what}: the device`);
  mapping.unmap();
  let from = 0;
  for (const [start, size] of places) {
    if (writes(direction)) before.set(written.subarray(from, from + size), start);
    from += size;
  }
  sameBytes(room, before, `${what}: the CPU`);
}

async function eachCell(
  { lengths, offsets, directions }: Matrix,
  body: (offset: number, length: number, direction: DmaDirection) => Promise<void>,
): Promise<void> {
  for (const length of lengths) {
    for (const offset of offsets) {
      for (const direction of directions) await body(offset, length, direction);
    }
  }
}

for (const world of worlds) {
  const matrix = world.simulated ? ALL : FEW;
  const long = world.simulated ? ALL_LONG : FEW_LONG;

  describe(`lengths and offsets: ${world.name}`, () => {
    for (const kind of KINDS) {
      it(`of ${kind} memory`, async () => {
        using open = await world.open();
        const room = memory(open.dma, kind, 2 * GUARD + 4097 + 12_289);
        await eachCell(matrix, (...cell) => checkSingle(world, open, kind, room, ...cell));
        assert.equal(open.dma.bounceStats.usedSlots, 0);
        assert.deepEqual(open.faults, []);
      });
    }

    it('of foreign memory above the copybreak', async () => {
      using open = await world.open();
      const room = memory(open.dma, 'foreign', 2 * GUARD + 4097 + 65_537);
      await eachCell(long, (...cell) => checkSingle(world, open, 'foreign', room, ...cell));
      assert.equal(open.dma.bounceStats.usedSlots, 0);
      assert.deepEqual(open.faults, []);
    });

    for (const kind of ['coherent', 'noncoherent', 'foreign'] as const) {
      it(`of lists of ${kind} memory`, async () => {
        using open = await world.open();
        const room = memory(open.dma, kind, 20 * PAGE);
        const lists = world.simulated ? matrix : { ...matrix, offsets: [1], lengths: [65] };
        await eachCell(lists, (...cell) => checkList(open, kind, room, ...cell));
        assert.equal(open.dma.bounceStats.usedSlots, 0);
        assert.deepEqual(open.faults, []);
      });
    }
  });
}
