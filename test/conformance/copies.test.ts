/**
 * What is copied when: swiotlb's table, byte for byte, in every world (kernel/dma/swiotlb.c; lib/dma/streaming/bounced.ts).
 *
 *                            to-device     from-device     bidirectional
 *        map                 in            in              in                 also with SKIP_CPU_SYNC
 *        sync for device     in, slice     -               in, slice
 *        sync for CPU        -             out, slice      out, slice
 *        unmap               -             out             out                not with SKIP_CPU_SYNC
 */
import { DMA_ATTR, type DmaDirection, type StreamingMapping } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { DIRECTIONS, overlay, PAGE, pattern, reads, sameBytes, writes } from './bytes.ts';
import { COPYBREAK, isNarrow, type OpenWorld, type World, wayOf, worlds } from './worlds.ts';

const SLOT = 2048;
const { SKIP_CPU_SYNC } = DMA_ATTR;

/** A slice of a mapping: offset, size. Where lines matter, slices are whole lines. */
type Slice = readonly [number, number];

const ANY_SLICES: readonly Slice[] = [
  [0, 1],
  [699, 1],
  [1, 63],
  [63, 130],
  [0, 700],
  [65, 635],
];
const LINE_SLICES: readonly Slice[] = [
  [0, 64],
  [128, 192],
  [640, 60],
  [0, 700],
];
/** On hardware each costs a dozen transfers. */
const FEW_SLICES: readonly Slice[] = [[63, 130]];

function slicesOf({ coherent, simulated }: World): readonly Slice[] {
  if (!coherent) return LINE_SLICES;
  return simulated ? ANY_SLICES : FEW_SLICES;
}

/** A view of foreign memory with neighbours on both sides, too small to be placed. */
class Guarded {
  readonly buffer: Uint8Array;
  readonly view: Uint8Array;
  private readonly guards: Uint8Array;

  constructor(size: number, offset = 101) {
    this.buffer = pattern(offset + size + 77, 99);
    this.view = this.buffer.subarray(offset, offset + size);
    this.guards = Uint8Array.from(this.buffer);
  }

  check(what: string): void {
    const { byteOffset, length } = this.view;
    const from = byteOffset - this.buffer.byteOffset;
    sameBytes(this.buffer.subarray(0, from), this.guards.subarray(0, from), `${what}, before the view`);
    const end = from + length;
    sameBytes(this.buffer.subarray(end), this.guards.subarray(end), `${what}, behind the view`);
  }
}

async function device(open: OpenWorld, mapping: StreamingMapping): Promise<Uint8Array> {
  return open.read(mapping.dmaAddress, mapping.size);
}

/** Every row of the table for one direction, one slice, with and without SKIP_CPU_SYNC. */
async function checkTable(
  world: World,
  open: OpenWorld,
  direction: DmaDirection,
  [offset, size]: Slice,
  attributes: number,
): Promise<void> {
  const { dma } = open;
  // Strictly bounced, the device cannot look at what it may only write.
  const looks = !world.strict || reads(direction);
  const what = `${direction}, slice ${offset}+${size}, attributes ${attributes}`;
  const source = new Guarded(700);
  const { view } = source;
  const [a, b, c, d] = [1, 2, 3, 4].map((seed) => pattern(700, seed)) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  view.set(a);
  const { bytesIn, bytesOut } = dma.bounceStats;
  const mapping = dma.mapSingle(view, direction, attributes);
  assert.equal(mapping.way, 'bounced', what);
  assert.equal(mapping.needSync, true, what);
  assert.equal(dma.bounceStats.bytesIn - bytesIn, 700, `${what}: copied in at map`);
  // Whoever skips a sync on such a device has to make up for it.
  if (attributes !== 0 && !world.coherent) mapping.syncForDevice();
  if (looks) sameBytes(await device(open, mapping), a, `${what}: the device after map`);

  view.set(b);
  if (looks) sameBytes(await device(open, mapping), a, `${what}: the device after the CPU wrote`);
  mapping.syncForDevice(offset, size);
  const given = reads(direction) ? overlay(a, b.subarray(offset, offset + size), offset) : a;
  if (looks) sameBytes(await device(open, mapping), given, `${what}: the device after sync for device`);
  sameBytes(view, b, `${what}: the CPU after sync for device`);

  // A device that is not coherent and writes where it must not leaves bytes that nobody will look for.
  const written = writes(direction) || (world.coherent && !world.strict);
  if (written) await open.write(mapping.dmaAddress, c);
  sameBytes(view, b, `${what}: the CPU after the device wrote`);
  mapping.syncForCpu(offset, size);
  const taken = writes(direction) ? overlay(b, c.subarray(offset, offset + size), offset) : b;
  sameBytes(view, taken, `${what}: the CPU after sync for CPU`);
  if (looks) {
    sameBytes(await device(open, mapping), written ? c : given, `${what}: the device after sync for CPU`);
  }

  const last = d.subarray(offset, offset + size);
  if (written) await open.write(mapping.dmaAddress + BigInt(offset), last);
  const out = dma.bounceStats.bytesOut;
  mapping.unmap();
  const copied = writes(direction) && attributes === 0;
  sameBytes(view, copied ? overlay(c, last, offset) : taken, `${what}: the CPU after unmap`);
  assert.equal(dma.bounceStats.bytesOut - out, copied ? 700 : 0, `${what}: copied out at unmap`);
  assert.equal(
    dma.bounceStats.bytesOut - bytesOut,
    (copied ? 700 : 0) + (writes(direction) ? size : 0),
    what,
  );
  source.check(what);
}

/** The rest of the slots around an address, as the device sees it. */
async function around(open: OpenWorld, mapping: StreamingMapping): Promise<Uint8Array> {
  const start = mapping.dmaAddress - (mapping.dmaAddress % BigInt(SLOT));
  const lead = Number(mapping.dmaAddress - start);
  const bytes = await open.read(start, Math.ceil((lead + mapping.size) / SLOT) * SLOT);
  bytes.fill(0, lead, lead + mapping.size);
  return bytes;
}

/** A secret goes through so many slots, and they are free again. */
function leaveSecret({ dma }: OpenWorld, size: number): void {
  const secret = new Uint8Array(size).fill(0xa5);
  const mappings = Array.from({ length: 8 }, () => dma.mapSingle(secret, 'bidirectional'));
  for (const mapping of mappings) mapping.unmap();
}

for (const world of worlds) {
  describe(`copies: ${world.name}`, () => {
    for (const direction of DIRECTIONS) {
      for (const attributes of [0, SKIP_CPU_SYNC]) {
        const skipping = attributes === 0 ? '' : ', SKIP_CPU_SYNC';
        it(`follow the table: ${direction}${skipping}`, async () => {
          using open = await world.open();
          for (const slice of slicesOf(world)) await checkTable(world, open, direction, slice, attributes);
          assert.equal(open.dma.bounceStats.usedSlots, 0);
        });
      }
    }

    it('keep what the device did not write', async () => {
      using open = await world.open();
      leaveSecret(open, 3000);
      for (const direction of ['from-device', 'bidirectional'] as const) {
        const source = new Guarded(3000);
        const before = Uint8Array.from(source.view);
        const mapping = open.dma.mapSingle(source.view, direction);
        await open.write(mapping.dmaAddress + 1000n, pattern(500, 7));
        mapping.unmap();
        sameBytes(source.view, overlay(before, pattern(500, 7), 1000), direction);
        source.check(direction);
      }
    });

    it('show the device no byte of another mapping around a bounced one', async () => {
      using open = await world.open();
      for (const [size, alignMask] of [
        [100, 0],
        [1, 0],
        [SLOT, 0],
        [SLOT + 1, 0],
        [100, 0xff],
        [SLOT - 4, 0xfff],
        [4096, 0xfff],
      ] as const) {
        open.dma.limits.minAlignMask = 0;
        leaveSecret(open, 4 * SLOT);
        leaveSecret(open, SLOT);
        open.dma.limits.minAlignMask = alignMask;
        const source = new Guarded(size);
        for (const direction of DIRECTIONS) {
          const mapping = open.dma.mapSingle(source.view, direction);
          const rest = await around(open, mapping);
          sameBytes(rest, new Uint8Array(rest.length), `${size} bytes, ${direction}, alignment ${alignMask}`);
          mapping.unmap();
        }
      }
    });

    it('keep the low bits of where the bytes are (min_align_mask)', async () => {
      using open = await world.open();
      const slab = new Uint8Array(4 * PAGE);
      for (const mask of [1, 7, 63, 511, 4095]) {
        open.dma.limits.minAlignMask = mask;
        const low = (address: bigint) => Number(address) & mask;
        const first = open.dma.mapSingle(slab.subarray(0, 10), 'to-device');
        const start = low(first.dmaAddress);
        first.unmap();
        for (const offset of [0, 1, 63, 64, 65, 511, 2047, 4095, 4097]) {
          using mapping = open.dma.mapSingle(slab.subarray(offset, offset + 10), 'to-device');
          assert.equal(low(mapping.dmaAddress), (start + offset) & mask, `offset ${offset}, mask ${mask}`);
        }
      }
    });

    it('copy what begins where the device takes no address (blk_queue_dma_alignment)', async () => {
      using open = await world.open();
      const { dma } = open;
      const { limits } = dma;
      const own = dma.allocCoherent(2 * PAGE).bytes;
      const large = new Uint8Array(256 * 1024);
      for (const memory of [own, large]) {
        for (const offset of [0, 1, 2, 3, 4, 7, 8]) {
          limits.dmaAlignment = 3;
          const view = memory.subarray(offset, memory.length - 8 + offset);
          const single = dma.mapSingle(view, 'bidirectional');
          const list = dma.mapSg([view], 'bidirectional');
          assert.equal(single.low % 4, 0, `offset ${offset}`);
          assert.equal(list.segments[0]!.low % 4, 0, `offset ${offset} in a list`);
          if (offset % 4 !== 0) assert.deepEqual([single.way, list.way], ['bounced', 'bounced']);
          const ways = [single.way, list.way];
          single.unmap();
          list.unmap();
          limits.dmaAlignment = 0;
          using free = dma.mapSingle(view, 'bidirectional');
          if (offset % 4 === 0) assert.equal(ways[0], free.way, 'an aligned view goes as ever');
        }
      }
      // The bits that are kept are others.
      limits.dmaAlignment = 3;
      limits.minAlignMask = 63;
      using kept = dma.mapSingle(large.subarray(49, 100), 'to-device');
      using whole = dma.mapSingle(large.subarray(48, 100), 'to-device');
      assert.equal(kept.low % 4, 0);
      assert.equal(kept.low & 63, whole.low & 63);
    });

    it('start on a page when they have one, and end before the segment boundary', async () => {
      using open = await world.open();
      const slab = new Uint8Array(8 * PAGE);
      const held: StreamingMapping[] = [];
      const sizes = [PAGE, PAGE + 1, PAGE + 1000, PAGE + 3000, 3 * PAGE];
      for (const size of sizes.filter((size) => size < COPYBREAK)) {
        for (let i = 0; i < 3; i++) {
          held.push(open.dma.mapSingle(slab.subarray(i, i + 100), 'to-device'));
          const mapping = open.dma.mapSingle(slab.subarray(i, i + size), 'to-device');
          assert.equal(mapping.low % PAGE, 0, `${size} bytes`);
          held.push(mapping);
        }
      }
      for (const mapping of held) mapping.unmap();
      for (const boundary of [2047, 4095, 16_383, 65_535]) {
        open.dma.limits.segmentBoundary = boundary;
        const sizes = [1, 1000, 2048, 4096, 9000, 16_384].filter((size) => size <= boundary + 1);
        for (const size of sizes) {
          const mapping = open.dma.mapSingle(slab.subarray(5, 5 + size), 'to-device');
          const first = Number(mapping.dmaAddress);
          const stride = boundary + 1;
          const [from, to] = [first, first + size - 1].map((at) => Math.floor(at / stride));
          assert.equal(from, to, `${size} bytes across ${stride}`);
          held.push(mapping);
        }
      }
    });

    it("reach what is out of the device's reach, also when it is its own memory", async () => {
      if (!isNarrow(world) && !world.forced) return;
      using open = await world.open();
      const ring = open.dma.allocCoherent(PAGE);
      if (isNarrow(world)) assert.ok(ring.dmaAddress > 2n ** BigInt(world.streamingBits));
      for (const direction of DIRECTIONS) {
        const a = pattern(PAGE, 1);
        const b = pattern(PAGE, 2);
        ring.bytes.set(a);
        const mapping = open.dma.mapSingle(ring.bytes, direction);
        assert.equal(mapping.way, wayOf(world, 'own', PAGE));
        assert.ok(mapping.dmaAddress + BigInt(PAGE) <= 2n ** BigInt(world.streamingBits));
        assert.notEqual(mapping.dmaAddress, ring.dmaAddress);
        await open.write(mapping.dmaAddress, b);
        sameBytes(ring.bytes, a, `${direction}: before unmap`);
        mapping.unmap();
        sameBytes(ring.bytes, writes(direction) ? b : a, `${direction}: after unmap`);
      }
    });

    it('are not made for a single byte more than is bounced at once', async () => {
      using open = await world.open();
      const { dma } = open;
      const most = 256 * 1024;
      const limits = world.translated && !world.forced ? [] : [most];
      for (const size of limits) {
        assert.equal(dma.limits.maxMappingSize, size);
        const bytes = pattern(size, 5);
        const mapping = dma.mapSingle(bytes, 'bidirectional');
        sameBytes(
          await open.read(mapping.dmaAddress + BigInt(size - 4000), 4000),
          bytes.subarray(-4000),
          'tail',
        );
        mapping.unmap();
        sameBytes(bytes, pattern(size, 5), 'source');
        assert.throws(() => dma.mapSingle(new Uint8Array(size + 1), 'to-device'), /ENOMEM|at most 262144/);
        dma.limits.minAlignMask = 1;
        assert.equal(dma.limits.maxMappingSize, size - SLOT);
        // One byte of padding is one too many; what needs none still fits, as in swiotlb_find_slots.
        assert.throws(
          () => dma.mapSingle(new Uint8Array(size + 1).subarray(1), 'to-device'),
          /at most 260096/,
        );
        dma.mapSingle(bytes, 'to-device').unmap();
      }
    });
  });
}
