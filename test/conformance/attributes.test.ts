/** Attributes at both ends of a mapping and of allocations, syncs of no bytes and of one direction (dma-attributes.rst). */
import { DMA_ATTR } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { DIRECTIONS, PAGE, pattern, refused, sameBytes } from './bytes.ts';
import { worlds } from './worlds.ts';

const { SKIP_CPU_SYNC, REQUIRE_COHERENT } = DMA_ATTR;
const SIZE = 2048;

for (const world of worlds) {
  describe(`attributes: ${world.name}`, () => {
    it('a sync of no bytes does nothing and is silent, wherever in the mapping it is', async () => {
      using open = await world.open();
      const { dma } = open;
      for (const direction of DIRECTIONS) {
        const foreign = pattern(SIZE, 1);
        using mapping = dma.mapSingle(foreign, direction);
        if (direction !== 'to-device') await open.write(mapping.dmaAddress, pattern(SIZE, 2));
        for (const offset of [0, 100, SIZE]) {
          mapping.syncForCpu(offset, 0);
          mapping.syncForDevice(offset, 0);
        }
        mapping.syncForCpu(SIZE);
        sameBytes(foreign, pattern(SIZE, 1), 'the memory');
        for (const [offset, size] of [
          [SIZE + 1, 0],
          [-1, 0],
        ] as const) {
          assert.throws(() => mapping.syncForCpu(offset, size), { code: 'EINVAL' });
        }
        dma.debug?.clear();
        mapping.unmap();
        for (const buffer of [
          dma.allocNoncoherent(SIZE, direction),
          dma.allocNoncontiguous(SIZE, direction),
        ]) {
          buffer.syncForCpu(0, 0);
          buffer.syncForDevice(SIZE, 0);
          buffer.free();
        }
      }
      assert.deepEqual(dma.debug?.reports ?? [], []);
    });

    it('SKIP_CPU_SYNC is a matter of each end', async () => {
      using open = await world.open();
      const { dma } = open;
      const memory = pattern(SIZE, 1);
      const views = [memory.subarray(0, 1000), memory.subarray(1024)];
      const skipAtEnd = dma.mapSingle(memory, 'bidirectional');
      await open.write(skipAtEnd.dmaAddress, pattern(SIZE, 2));
      skipAtEnd.unmap(SKIP_CPU_SYNC);
      sameBytes(memory, pattern(SIZE, 1), 'nothing came out');
      const skipAtStart = dma.mapSingle(memory, 'bidirectional', SKIP_CPU_SYNC);
      skipAtStart.syncForDevice();
      await open.write(skipAtStart.dmaAddress, pattern(SIZE, 2));
      skipAtStart.unmap(0);
      sameBytes(memory, pattern(SIZE, 2), 'what the device wrote');
      const list = dma.mapSg(views, 'bidirectional');
      for (const { dmaAddress, length } of list.segments) await open.write(dmaAddress, pattern(length, 3));
      list.unmap(SKIP_CPU_SYNC);
      sameBytes(memory, pattern(SIZE, 2), 'nothing came out of the list');
      const again = dma.mapSg(views, 'bidirectional', SKIP_CPU_SYNC);
      again.syncForDevice();
      for (const { dmaAddress, length } of again.segments) await open.write(dmaAddress, pattern(length, 3));
      again.unmap(0);
      sameBytes(views[0]!, pattern(1000, 3), 'the first element');
      const mapping = dma.mapSingle(memory, 'to-device');
      for (const bad of [1, 64, -1, DMA_ATTR.MMIO, REQUIRE_COHERENT]) {
        refused(dma, 'EINVAL', String(bad), () => mapping.unmap(bad));
      }
      mapping.unmap();
    });

    it('a bidirectional mapping is synced one way, and the other way nothing moves', async () => {
      using open = await world.open();
      const { dma } = open;
      const memory = pattern(SIZE, 1);
      using mapping = dma.mapSingle(memory, 'bidirectional');
      await open.write(mapping.dmaAddress, pattern(SIZE, 2));
      if (world.coherent) {
        mapping.syncForCpu(0, SIZE, 'to-device');
        sameBytes(memory, pattern(SIZE, 1), 'after a sync for the CPU of what the device reads');
      }
      mapping.syncForCpu(0, SIZE, 'from-device');
      sameBytes(memory, pattern(SIZE, 2), 'after a sync for the CPU');
      memory.set(pattern(SIZE, 3));
      mapping.syncForDevice(0, SIZE, 'to-device');
      sameBytes(await open.read(mapping.dmaAddress, SIZE), pattern(SIZE, 3), 'the device');
      mapping.unmap();
      using list = dma.mapSg([memory], 'bidirectional');
      const [{ dmaAddress }] = list.segments as unknown as [{ dmaAddress: bigint }];
      await open.write(dmaAddress, pattern(SIZE, 4));
      list.syncForCpu('from-device');
      sameBytes(memory, pattern(SIZE, 4), 'the list');
      list.unmap();
      using out = dma.mapSingle(memory, 'to-device');
      for (const direction of ['from-device', 'bidirectional', 'none' as 'to-device'] as const) {
        refused(dma, 'EINVAL', direction, () => out.syncForCpu(0, SIZE, direction));
      }
    });

    it('allocations take what changes nothing, and refuse by name what cannot be kept', async () => {
      using open = await world.open();
      const { dma } = open;
      const alloc = (attributes: number) => dma.allocCoherent(PAGE, { attributes });
      for (const name of [
        'WEAK_ORDERING',
        'WRITE_COMBINE',
        'ALLOC_SINGLE_PAGES',
        'NO_WARN',
        'PRIVILEGED',
      ] as const) {
        alloc(DMA_ATTR[name]).free();
      }
      if (world.translated) refused(dma, 'EOPNOTSUPP', 'contiguous', () => alloc(DMA_ATTR.FORCE_CONTIGUOUS));
      else alloc(DMA_ATTR.FORCE_CONTIGUOUS).free();
      refused(dma, 'EOPNOTSUPP', 'no mapping', () => alloc(DMA_ATTR.NO_KERNEL_MAPPING));
      for (const bit of [SKIP_CPU_SYNC, DMA_ATTR.MMIO, REQUIRE_COHERENT, 1 << 13, 1]) {
        refused(dma, 'EINVAL', String(bit), () => alloc(bit));
      }
      refused(dma, 'EINVAL', 'unknown option', () => dma.allocCoherent(PAGE, { atributes: 1 } as never));
    });

    it('REQUIRE_COHERENT has the codes of dma_map_sg_attrs, and holds for registers too', async () => {
      using open = await world.open();
      const { dma } = open;
      const own = dma.allocCoherent(PAGE).bytes;
      if (world.coherent) return;
      refused(dma, 'EOPNOTSUPP', 'a list', () => dma.mapSg([own], 'to-device', REQUIRE_COHERENT));
      // Before it looks which registers.
      refused(dma, 'EPERM', 'registers', () =>
        dma.mapResource({ window: undefined }, 0, PAGE, 'to-device', REQUIRE_COHERENT),
      );
    });
  });
}
