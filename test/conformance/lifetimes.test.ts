/** What happens to memory while it is mapped: detached, taken away, or its device closed. */
import type { StreamingMapping } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { DIRECTIONS, detach, PAGE, pattern, sameBytes, writes } from './bytes.ts';
import { COPYBREAK, wayOf, worlds } from './worlds.ts';

for (const world of worlds) {
  describe(`lifetimes: ${world.name}`, () => {
    it('a source that is detached while it is mapped: everything is released, and said when bytes are lost', async () => {
      using open = await world.open();
      const { dma } = open;
      for (const size of [500, COPYBREAK + 777]) {
        for (const direction of DIRECTIONS) {
          const what = `${size} bytes, ${direction}`;
          const view = pattern(size + 3, 1).subarray(3);
          const mapping = dma.mapSingle(view, direction);
          detach(view);
          if (writes(direction)) {
            assert.throws(() => mapping.syncForCpu(), { code: 'EINVAL', message: /detached/ }, what);
            assert.throws(() => mapping.unmap(), { code: 'EINVAL', message: /detached/ }, what);
          } else {
            mapping.syncForCpu();
            mapping.unmap();
          }
          assert.equal(mapping.mapped, false, what);
          assert.equal(dma.bounceStats.usedSlots, 0, what);
          assert.throws(() => mapping.unmap(), { code: 'EINVAL', message: /after it was unmapped/ }, what);
        }
      }
      const kept = pattern(300, 2);
      const lost = new Uint8Array(300);
      const list = dma.mapSg([lost, kept], 'from-device');
      detach(lost);
      await open.write(list.segments[1]!.dmaAddress, pattern(300, 3));
      assert.throws(() => list.unmap(), { code: 'EINVAL', message: /detached/ });
      sameBytes(kept, pattern(300, 3), 'the other element');
      assert.equal(list.mapped, false);
      assert.equal(dma.bounceStats.usedSlots, 0);
    });

    it('own memory that somebody took away: free and unmap work, and nothing is handed out twice', async () => {
      using open = await world.open();
      const { dma } = open;
      const buffer = dma.allocCoherent(PAGE);
      const mapping = dma.mapSingle(buffer.bytes, 'to-device');
      let taken: ArrayBuffer | undefined;
      try {
        taken = structuredClone(buffer.buffer, { transfer: [buffer.buffer] });
      } catch (error) {
        // Memory that cannot be taken away is better still.
        assert.ok(error instanceof Error);
      }
      mapping.unmap();
      buffer.free();
      if (taken !== undefined) new Uint8Array(taken).fill(0xee);
      const next = Array.from({ length: 8 }, () => dma.allocCoherent(PAGE));
      for (const { bytes } of next) assert.ok(bytes.every((byte) => byte === 0));
      if (taken !== undefined) new Uint8Array(taken).fill(0xdd);
      for (const { bytes } of next) assert.ok(bytes.every((byte) => byte === 0));
    });

    it('a device that is closed: ENODEV for what is new, EINVAL for what was, and no view left', async () => {
      using open = await world.open();
      const { dma, fn } = open;
      const ring = dma.allocCoherent(PAGE);
      const noncoherent = dma.allocNoncoherent(PAGE, 'bidirectional');
      const pool = dma.createPool('pool', { size: 64 });
      const block = pool.alloc()!;
      const foreign = pattern(500, 1);
      const mappings = [
        dma.mapSingle(ring.bytes, 'bidirectional'),
        dma.mapSingle(foreign, 'bidirectional'),
        dma.mapSingle(new Uint8Array(COPYBREAK + 10), 'from-device'),
        dma.mapSg([ring.bytes.subarray(1, 9), foreign], 'to-device'),
      ];
      const { bytes } = block;
      const state = dma.reserveIova(PAGE);
      await open.write((mappings[1] as StreamingMapping).dmaAddress, new Uint8Array(500).fill(0xee));
      fn.close();
      const made: (() => unknown)[] = [
        () => dma.allocCoherent(1),
        () => dma.allocNoncoherent(1, 'to-device'),
        () => dma.createPool('late', { size: 1 }),
        () => dma.mapSingle(foreign, 'to-device'),
        () => dma.mapSg([foreign], 'to-device'),
        () => dma.reserveIova(PAGE),
        () => dma.setMask(0xffff_ffffn),
        () => dma.supported(0xffff_ffffn),
        () => pool.alloc(),
        () => pool.destroy(),
      ];
      for (const action of made) assert.throws(action, { code: 'ENODEV' }, String(action));
      for (const mapping of mappings) {
        assert.equal(mapping.mapped, false);
        assert.throws(() => mapping.unmap(), { code: 'EINVAL', message: /closed/ });
        assert.throws(() => mapping.syncForCpu(), { code: 'EINVAL', message: /closed/ });
      }
      for (const use of [
        () => ring.free(),
        () => ring.dmaAddress,
        () => noncoherent.free(),
        () => block.bytes,
      ]) {
        assert.throws(use, { code: 'EINVAL' }, String(use));
      }
      if (state !== null) assert.throws(() => state.free(), { code: 'ENODEV' });
      for (const view of [ring.bytes, noncoherent.bytes, bytes]) assert.equal(view.length, 0);
      if (world.coherent || wayOf(world, 'foreign', 500) === 'bounced') {
        sameBytes(foreign, pattern(500, 1), 'nothing is copied at close');
      }
    });
  });
}
