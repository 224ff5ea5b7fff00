/** Two-step mapping (dma_iova_try_alloc, dma_iova_link and friends): the rules of what may be linked where. */
import { DMA_ATTR, type DmaDevice, type IovaState } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { DIRECTIONS, foreignPages, PAGE, pattern, refused, sameBytes, writes } from './bytes.ts';
import { type OpenWorld, type World, worlds } from './worlds.ts';

function reserve(dma: DmaDevice, size: number, first?: ArrayBufferView): IovaState {
  const state = dma.reserveIova(size, first);
  assert.ok(state !== null, 'addresses');
  return state;
}

async function withWorld(world: World, body: (open: OpenWorld) => Promise<void> | void): Promise<void> {
  using open = await world.open();
  await body(open);
  assert.equal(open.dma.bounceStats.usedSlots, 0, 'bounce pages left');
  assert.deepEqual(open.faults, []);
}

for (const world of worlds) {
  describe(`two-step mapping: ${world.name}`, () => {
    if (!world.translated) {
      it('there are no addresses to reserve without an IOMMU', () =>
        withWorld(world, ({ dma }) => {
          assert.equal(dma.reserveIova(PAGE), null);
          assert.equal(dma.reserveIova(PAGE, new Uint8Array(PAGE)), null);
        }));
      return;
    }

    it('one range of addresses, whatever is linked into it', () =>
      withWorld(world, async (open) => {
        const { dma } = open;
        const own = dma.allocCoherent(2 * PAGE).bytes;
        const foreign = foreignPages(dma, 3);
        own.set(pattern(own.length, 1));
        foreign.set(pattern(foreign.length, 2));
        const state = reserve(dma, 4 * PAGE + 100);
        assert.equal(state.dmaAddress % BigInt(PAGE), 0n);
        assert.ok(state.dmaAddress + BigInt(state.size) <= dma.mask + 1n);
        state.link(0, own.subarray(PAGE), 'to-device');
        state.link(PAGE, foreign.subarray(0, 2 * PAGE), 'to-device');
        state.link(3 * PAGE, own.subarray(0, PAGE), 'to-device');
        state.link(4 * PAGE, foreign.subarray(2 * PAGE, 2 * PAGE + 100), 'to-device');
        assert.equal(state.linked, state.size);
        assert.equal(state.unsynced, state.size);
        state.sync();
        assert.equal(state.unsynced, 0);
        const expected = Buffer.concat([
          own.subarray(PAGE),
          foreign.subarray(0, 2 * PAGE),
          own.subarray(0, PAGE),
          foreign.subarray(2 * PAGE, 2 * PAGE + 100),
        ]);
        sameBytes(await open.read(state.dmaAddress, state.size), new Uint8Array(expected), 'the device');
        const rest = await open.read(state.dmaAddress + BigInt(state.size), 100);
        sameBytes(rest, new Uint8Array(100), 'behind the last byte');
        state.destroy();
        assert.equal(state.reserved, false);
      }));

    for (const direction of DIRECTIONS) {
      it(`an unaligned piece, ${direction}: what the device wrote is there after unlink`, () =>
        withWorld(world, async (open) => {
          const raw = pattern(3 * PAGE, 3);
          const before = Uint8Array.from(raw);
          const view = raw.subarray(777, 777 + 2 * PAGE);
          for (const attributes of [0, DMA_ATTR.SKIP_CPU_SYNC]) {
            if (attributes !== 0 && !world.coherent) continue;
            raw.set(before);
            const state = reserve(open.dma, view.length, view);
            state.link(0, view, direction, attributes);
            state.sync();
            if (direction !== 'from-device') {
              sameBytes(await open.read(state.dmaAddress, view.length), view, 'the device');
            }
            const bytes = pattern(view.length, 4);
            if (writes(direction)) await open.write(state.dmaAddress, bytes);
            const head = (PAGE - Number(state.dmaAddress % BigInt(PAGE))) % PAGE;
            const tail = (view.length - head) % PAGE;
            state.unlink(0, view.length);
            state.free();
            const expected = Uint8Array.from(before);
            // Copied edges stay behind when syncs are skipped; what is in place is in place.
            const [from, to] = attributes === 0 ? [0, view.length] : [head, view.length - tail];
            if (writes(direction)) expected.set(bytes.subarray(from, to), 777 + from);
            sameBytes(raw, expected, `attributes ${attributes}`);
          }
        }));
    }

    it('refuses what breaks its rules, and nothing changes', () =>
      withWorld(world, ({ dma }) => {
        const own = dma.allocCoherent(4 * PAGE).bytes;
        const state = reserve(dma, 4 * PAGE);
        const page = own.subarray(0, PAGE);
        const refuses: [string, 'EINVAL' | 'EIO' | 'EEXIST', () => void][] = [
          ['inside a granule, not first', 'EIO', () => state.link(PAGE, own.subarray(1, 100), 'to-device')],
          ['inside a granule, first', 'EINVAL', () => state.link(0, own.subarray(1, 100), 'to-device')],
          ['at an offset inside a granule', 'EINVAL', () => state.link(100, page, 'to-device')],
          ['outside', 'EINVAL', () => state.link(4 * PAGE, page, 'to-device')],
          ['across the end', 'EINVAL', () => state.link(3 * PAGE, own.subarray(0, 2 * PAGE), 'to-device')],
          ['at no offset', 'EINVAL', () => state.link(Number.NaN, page, 'to-device')],
          ['in no direction', 'EINVAL', () => state.link(0, page, 'none' as 'to-device')],
          ['nothing', 'EINVAL', () => state.link(0, page.subarray(0, 0), 'to-device')],
          ['for registers', 'EINVAL', () => state.link(0, page, 'to-device', DMA_ATTR.MMIO)],
          ['sync outside', 'EINVAL', () => state.sync(0, 5 * PAGE)],
          ['unlink of nothing', 'EINVAL', () => state.unlink(0, PAGE)],
        ];
        for (const [what, code, action] of refuses) {
          refused(dma, code, what, action);
          assert.equal(state.linked, 0, what);
        }
        state.link(PAGE, own.subarray(PAGE, 3 * PAGE), 'to-device');
        refused(dma, 'EEXIST', 'overlap', () => state.link(0, own.subarray(0, 2 * PAGE), 'to-device'));
        refused(dma, 'EEXIST', 'overlap', () => state.link(2 * PAGE, page, 'to-device'));
        refused(dma, 'EINVAL', 'a gap', () => state.unlink(0, 2 * PAGE));
        state.sync(0, 2 * PAGE);
        refused(dma, 'EINVAL', 'half a link', () => state.unlink(PAGE, PAGE));
        refused(dma, 'EINVAL', 'more than the link', () => state.unlink(PAGE, 3 * PAGE));
        refused(dma, 'EBUSY', 'free', () => state.free());
        assert.equal(state.linked, 2 * PAGE);
        state.unlink(PAGE, 2 * PAGE);
        state.free();
        for (const action of [
          () => state.free(),
          () => state.destroy(),
          () => state.dmaAddress,
          () => state.sync(),
        ]) {
          refused(dma, 'EINVAL', 'after free', action);
        }
        assert.equal(dma.reserveIova(0), null, 'no bytes');
        for (const size of [-1, 1.5, Number.NaN, 2 ** 53]) {
          refused(dma, 'EINVAL', `${size} bytes`, () => dma.reserveIova(size));
        }
      }));

    it('REQUIRE_COHERENT: in place or not at all', () =>
      withWorld(world, ({ dma }) => {
        const { REQUIRE_COHERENT } = DMA_ATTR;
        const own = dma.allocCoherent(PAGE).bytes;
        const pages = foreignPages(dma, 2);
        const state = reserve(dma, 2 * PAGE);
        if (!world.coherent) {
          refused(dma, 'EOPNOTSUPP', 'incoherent', () => state.link(0, own, 'to-device', REQUIRE_COHERENT));
        } else {
          state.link(0, pages.subarray(0, PAGE), 'to-device', REQUIRE_COHERENT);
          const edge = pages.subarray(PAGE, PAGE + 100);
          refused(dma, 'EPERM', 'an edge', () => state.link(PAGE, edge, 'to-device', REQUIRE_COHERENT));
        }
        state.destroy();
      }));
  });
}
