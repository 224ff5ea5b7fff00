/** Declared memory in every world: a buffer of the device's own, at the address it has or at one it was linked to. */
import type { CoherentBuffer, DmaDevice } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { PAGE, pattern, refused, sameBytes } from './bytes.ts';
import { type OpenWorld, worlds } from './worlds.ts';

const PAGES = 8;
const SIZE = PAGES * PAGE;

/** Something that the device reaches, declared where it is. */
function declare(dma: DmaDevice, exclusive = true): CoherentBuffer {
  const arena = dma.allocCoherent(SIZE);
  dma.declareCoherentMemory(arena.bytes, arena.dmaAddress, SIZE, { exclusive });
  return arena;
}

/** CPU and device see each other's bytes, without a sync. */
async function checkShared(open: OpenWorld, bytes: Uint8Array, address: bigint, what: string): Promise<void> {
  bytes.set(pattern(bytes.length, 1));
  sameBytes(await open.read(address, bytes.length), pattern(bytes.length, 1), `${what}: device`);
  await open.write(address, pattern(bytes.length, 2));
  sameBytes(bytes, pattern(bytes.length, 2), `${what}: CPU`);
}

for (const world of worlds) {
  describe(`declared memory: ${world.name}`, () => {
    it('is what allocCoherent and pools hand out, and the device sees it', async () => {
      using open = await world.open();
      const { dma } = open;
      const before = dma.live.length;
      const arena = declare(dma);
      arena.bytes.fill(0xee);
      const page = dma.allocCoherent(PAGE);
      const ring = dma.allocCoherent(PAGE + 100);
      assert.deepEqual(
        [page, ring].map(({ dmaAddress }) => Number(dmaAddress - arena.dmaAddress)),
        [0, 2 * PAGE],
      );
      assert.ok([...page.bytes, ...ring.bytes].every((byte) => byte === 0));
      await checkShared(open, ring.bytes, ring.dmaAddress, 'buffer');
      sameBytes(arena.bytes.subarray(2 * PAGE, 3 * PAGE + 100), pattern(PAGE + 100, 2), 'the arena');
      const pool = dma.createPool('declared', { size: 64, align: 64 });
      const block = pool.alloc()!;
      assert.equal(block.dmaAddress, arena.dmaAddress + BigInt(PAGE));
      await checkShared(open, block.bytes, block.dmaAddress, 'block');
      assert.deepEqual(open.faults, []);
      block.free();
      pool.destroy();
      for (const buffer of [page, ring]) buffer.free();
      assert.equal(dma.declared!.free, SIZE);
      dma.releaseDeclaredMemory();
      arena.free();
      assert.equal(dma.live.length, before);
    });

    it('is full when it is full, or makes room elsewhere', async () => {
      using open = await world.open();
      const { dma } = open;
      const arena = declare(dma);
      const all = dma.allocCoherent(SIZE);
      refused(dma, 'ENOMEM', 'full', () => dma.allocCoherent(1));
      const pool = dma.createPool('full', { size: 64 });
      assert.equal(pool.alloc(), null);
      all.free();
      refused(dma, 'ENOMEM', 'too long', () => dma.allocCoherent(SIZE + 1));
      dma.releaseDeclaredMemory();
      dma.declareCoherentMemory(arena.bytes, arena.dmaAddress, SIZE, { exclusive: false });
      const inside = dma.allocCoherent(SIZE);
      const outside = dma.allocCoherent(PAGE);
      assert.equal(inside.buffer, arena.buffer);
      assert.equal(outside.buffer.byteLength, PAGE);
      await checkShared(open, outside.bytes.subarray(0, 64), outside.dmaAddress, 'outside');
      assert.equal(pool.alloc()!.size, 64);
    });

    it('holds what was there already where it is marked occupied', async () => {
      using open = await world.open();
      const { dma } = open;
      const arena = declare(dma);
      const at = arena.dmaAddress + BigInt(2 * PAGE);
      await open.write(at, pattern(64, 5));
      const occupied = dma.markDeclaredMemoryOccupied(at + 10n, 54);
      assert.deepEqual([occupied.dmaAddress, occupied.size], [at, 64]);
      sameBytes(occupied.bytes, pattern(64, 5), 'what is there');
      const others = [dma.allocCoherent(2 * PAGE), dma.allocCoherent(PAGE), dma.allocCoherent(4 * PAGE)];
      assert.deepEqual(
        others.map(({ dmaAddress }) => Number(dmaAddress - arena.dmaAddress) / PAGE),
        [0, 3, 4],
      );
      refused(dma, 'EBUSY', 'taken', () => dma.markDeclaredMemoryOccupied(at, 1));
      refused(dma, 'EINVAL', 'outside', () => dma.markDeclaredMemoryOccupied(at + BigInt(SIZE), 1));
      sameBytes(occupied.bytes, pattern(64, 5), 'what is still there');
    });

    it('is refused when it is not whole pages, or there is some already', async () => {
      using open = await world.open();
      const { dma } = open;
      const { bytes, dmaAddress } = dma.allocCoherent(SIZE);
      const declareAt = (address: bigint, size: number) => dma.declareCoherentMemory(bytes, address, size);
      refused(dma, 'EINVAL', 'no size', () => declareAt(dmaAddress, 0));
      refused(dma, 'EINVAL', 'part of a page', () => declareAt(dmaAddress, PAGE / 2));
      refused(dma, 'EINVAL', 'inside a page', () => declareAt(dmaAddress + 8n, PAGE));
      refused(dma, 'EINVAL', 'too long', () => declareAt(dmaAddress, SIZE + PAGE));
      for (const action of [
        () => dma.releaseDeclaredMemory(),
        () => dma.markDeclaredMemoryOccupied(dmaAddress, PAGE),
        () => dma.allocCoherentIo(PAGE),
      ]) {
        refused(dma, 'EINVAL', String(action), action);
      }
      declareAt(dmaAddress, SIZE);
      refused(dma, 'EBUSY', 'a second region', () => declareAt(dmaAddress, SIZE));
    });

    it('ends with what was allocated from it when it is released', async () => {
      using open = await world.open();
      const { dma } = open;
      const arena = declare(dma);
      const before = dma.live.length;
      const pool = dma.createPool('declared', { size: 64 });
      const [buffer, block] = [dma.allocCoherent(PAGE), pool.alloc()!];
      dma.releaseDeclaredMemory();
      for (const use of [() => buffer.free(), () => buffer.dmaAddress, () => block.bytes, () => block.low]) {
        assert.throws(use, { code: 'EINVAL' }, String(use));
      }
      assert.throws(() => pool.alloc(), { code: 'ENODEV' });
      assert.equal(dma.live.length, before);
      arena.bytes.fill(1);
      assert.notEqual(dma.allocCoherent(PAGE).buffer, arena.buffer);
    });

    if (!world.translated) return;

    it('is where it was linked, which need not be its only address', async () => {
      using open = await world.open();
      const { dma } = open;
      const arena = dma.allocCoherent(SIZE);
      const state = dma.reserveIova(SIZE)!;
      state.link(0, arena.bytes, 'bidirectional');
      state.sync();
      dma.declareCoherentMemory(arena.bytes, state.dmaAddress, SIZE);
      const buffer = dma.allocCoherent(PAGE);
      assert.equal(buffer.dmaAddress, state.dmaAddress);
      await checkShared(open, buffer.bytes, buffer.dmaAddress, 'linked');
      sameBytes(await open.read(arena.dmaAddress, PAGE), pattern(PAGE, 2), 'by its own address');
      assert.equal(dma.addressOf(buffer.bytes), state.dmaAddress);
      assert.equal(dma.addressOf(arena.bytes), arena.dmaAddress);
      assert.deepEqual(open.faults, []);
    });
  });
}
