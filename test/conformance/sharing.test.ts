/**
 * The same bytes lent twice, the second time with DMA_ATTR.SKIP_CPU_SYNC: to two devices where the world has them, else
 * to one. Memory in place is one memory for both mappings. Memory that is copied is not: each mapping has bounce slots of
 * its own, as in the kernel, where swiotlb_tbl_map_single (kernel/dma/swiotlb.c) looks for free slots each time and never
 * for those of another mapping of the same memory.
 */
import { DMA_ATTR, type DmaDirection } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { DIRECTIONS, foreignPages, PAGE, pattern, reads, sameBytes, writes } from './bytes.ts';
import { COPYBREAK, type OpenDevice, type OpenWorld, type World, worlds } from './worlds.ts';

const LONG = COPYBREAK + 3000;

/** Every kind of memory, and how much of it goes through a copy. */
function memories(world: World, { dma }: OpenWorld): [string, Uint8Array][] {
  const kinds: [string, Uint8Array][] = [
    ['a few bytes', new Uint8Array(300)],
    ['foreign memory from anywhere', new Uint8Array(LONG + 77).subarray(77)],
    ['coherent memory', dma.allocCoherent(LONG).bytes],
    ['noncoherent memory', dma.allocNoncoherent(LONG, 'bidirectional').bytes],
  ];
  if (world.translated) kinds.push(['whole pages', foreignPages(dma, COPYBREAK / PAGE)]);
  return kinds;
}

const kindsOf = ({ dma }: OpenDevice): string[] => (dma.debug?.reports ?? []).map(({ kind }) => kind);

async function lendTwice(world: World, open: OpenWorld, bytes: Uint8Array, direction: DmaDirection) {
  const second = await secondOf(open);
  bytes.set(pattern(bytes.length, 1));
  const one = open.dma.mapSingle(bytes, direction);
  const two = second.dma.mapSingle(bytes, direction, DMA_ATTR.SKIP_CPU_SYNC);
  // The second device's copy, if any, was filled by the CPU, and on a device that is not coherent may be in its cache.
  if (!world.coherent && second.dma.needSync(two)) two.syncForDevice();
  return { second, one, two };
}

const seconds = new WeakMap<OpenWorld, Promise<OpenDevice>>();

function secondOf(open: OpenWorld): Promise<OpenDevice> {
  const found = seconds.get(open) ?? open.openSecond();
  seconds.set(open, found);
  return found;
}

for (const world of worlds) {
  describe(`sharing: ${world.name}`, () => {
    it('the second device sees the bytes, and what it writes is there after its own sync', async () => {
      using open = await world.open();
      for (const [what, bytes] of memories(world, open)) {
        for (const direction of DIRECTIONS) {
          const { second, one, two } = await lendTwice(world, open, bytes, direction);
          const expected = pattern(bytes.length, 1);
          const about = `${what}, ${direction}`;
          for (const at of [0, bytes.length - 200]) {
            const address = two.dmaAddress + BigInt(at);
            if (reads(direction))
              sameBytes(await second.read(address, 200), expected.subarray(at, at + 200), about);
            if (!writes(direction)) continue;
            await second.write(address, pattern(200, 2 + at));
            expected.set(pattern(200, 2 + at), at);
          }
          // The order matters where bytes are copied: the device that wrote comes last.
          one.unmap(DMA_ATTR.SKIP_CPU_SYNC);
          two.syncForCpu();
          sameBytes(bytes, expected, `${about}, after the sync`);
          two.unmap();
          sameBytes(bytes, expected, `${about}, after unmap`);
          assert.deepEqual([kindsOf(open), kindsOf(second)], [[], []], about);
        }
      }
    });

    it('a copy of its own is not seen by the other device, and the last one that is copied out stays', async () => {
      using open = await world.open();
      for (const [what, bytes] of memories(world, open)) {
        const { second, one, two } = await lendTwice(world, open, bytes, 'bidirectional');
        const copied = one.bounced && two.bounced;
        await second.write(two.dmaAddress, pattern(200, 2));
        const seen = await open.read(one.dmaAddress, 200);
        if (copied) sameBytes(seen, pattern(200, 1), `${what}: the first device`);
        else if (one.way === 'arithmetic' && two.way === 'arithmetic') sameBytes(seen, pattern(200, 2), what);
        // The second mapping leaves its copy where it is, and the first one brings its own.
        two.unmap();
        one.unmap();
        if (copied)
          sameBytes(bytes, pattern(bytes.length, 1), `${what}: what the second device wrote is lost`);
        assert.deepEqual([kindsOf(open), kindsOf(second)], [[], []], what);
      }
    });

    it('the syncs of one mapping serve both where the memory is in place', async () => {
      using open = await world.open();
      const kinds = memories(world, open).filter(([what]) => /coherent|pages/.test(what));
      for (const [what, bytes] of kinds) {
        const { second, one, two } = await lendTwice(world, open, bytes, 'bidirectional');
        if (one.bounced || two.bounced || one.way !== two.way) {
          two.unmap();
          one.unmap();
          continue;
        }
        one.syncForCpu();
        bytes.fill(9);
        one.syncForDevice();
        sameBytes(await second.read(two.dmaAddress, 200), new Uint8Array(200).fill(9), what);
        await second.write(two.dmaAddress, pattern(200, 3));
        one.syncForCpu();
        sameBytes(bytes.subarray(0, 200), pattern(200, 3), what);
        one.syncForDevice();
        two.unmap();
        one.unmap();
        sameBytes(bytes.subarray(0, 200), pattern(200, 3), what);
        assert.deepEqual([kindsOf(open), kindsOf(second)], [[], []], what);
      }
    });
  });
}
