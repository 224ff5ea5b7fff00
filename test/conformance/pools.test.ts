/** Pools (mm/dmapool.c): what is refused, how blocks are carved, and that each block is memory of the device. */
import type { DmaPoolBlock, PoolOptions } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { PAGE, pattern, refused, sameBytes } from './bytes.ts';
import { type World, worlds } from './worlds.ts';

/** Options, then the rounded size, the blocks of a page and the distance between the first two. */
const LAYOUTS: readonly (readonly [PoolOptions, number, number])[] = [
  [{ size: 16, align: 16 }, 16, PAGE / 16],
  [{ size: 64, align: 64 }, 64, PAGE / 64],
  [{ size: 256, align: 256 }, 256, PAGE / 256],
  [{ size: 1024, align: 1024 }, 1024, PAGE / 1024],
  [{ size: PAGE, align: PAGE }, PAGE, 1],
  [{ size: 68, align: 32, boundary: 4096 }, 96, 42 * (PAGE / 4096)],
  [{ size: 1 }, 1, PAGE],
  [{ size: 100, align: 0 }, 100, Math.floor(PAGE / 100)],
  [{ size: 100, align: 8, boundary: 256 }, 104, 2 * (PAGE / 256)],
  [{ size: 64, align: 64, boundary: 2 * PAGE }, 64, PAGE / 64],
  [{ size: PAGE + 904, align: 8 }, PAGE + 904, 1],
  [{ size: 3000, boundary: 4096 }, 3000, PAGE / 4096],
];

const REFUSED: readonly PoolOptions[] = [
  { size: 0 },
  { size: -1 },
  { size: 1.5 },
  { size: Number.NaN },
  { size: 2 ** 31 },
  { size: '64' as unknown as number },
  { size: 64, align: 3 },
  { size: 64, align: -8 },
  { size: 64, align: 0.5 },
  { size: 64, boundary: 32 },
  { size: 64, boundary: 100 },
  { size: 64, boundary: -4096 },
  // The boundary is compared with the size as rounded up to the alignment.
  { size: 65, align: 64, boundary: 64 },
  { size: 64, blocks: -1 },
  { size: 64, blocks: 1.5 },
  { size: 64, grow: false },
];

/** On hardware one transfer takes as long as a thousand allocations. */
function touched<T>({ simulated }: World, blocks: readonly T[]): readonly T[] {
  return simulated ? blocks : blocks.slice(0, 2);
}

for (const world of worlds) {
  describe(`pools: ${world.name}`, () => {
    it('carve by the rules: size, alignment, boundary, blocks of a page, lowest first', async () => {
      using open = await world.open();
      const { dma } = open;
      for (const [options, size, blocks] of LAYOUTS) {
        const what = JSON.stringify(options);
        using pool = dma.createPool('layout', options);
        assert.equal(pool.size, size, what);
        const out = Array.from({ length: blocks }, () => pool.alloc()!);
        const { active, total, pages } = pool.stats();
        assert.deepEqual([active, total, pages], [blocks, blocks, 1], what);
        const unit = BigInt(Math.max(size, PAGE));
        const stride = BigInt(options.boundary ?? 0) || 2n ** 64n;
        let previous = -1n;
        for (const block of out) {
          const first = block.dmaAddress;
          assert.ok(first > previous, `${what}: ascending`);
          assert.equal(first % BigInt(options.align || 1), 0n, `${what}: alignment`);
          assert.equal(first / stride, (first + BigInt(size) - 1n) / stride, `${what}: boundary`);
          assert.ok(first + BigInt(size) - out[0]!.dmaAddress <= unit, `${what}: one page`);
          assert.ok(first + BigInt(size) - 1n <= dma.coherentMask, `${what}: mask`);
          previous = first + BigInt(size) - 1n;
        }
        assert.notEqual(pool.alloc(), null, what);
        assert.equal(pool.stats().pages, 2, `${what}: a second page`);
        for (const block of out) block.free();
        pool.free(lastOut(pool.stats().active, out, pool.alloc()!));
        // What is still out is the one from the second page.
        assert.equal(pool.stats().active, 1, what);
        assert.throws(() => pool.destroy(), { code: 'EBUSY' }, what);
      }
    });

    it('refuse what makes no pool, and nothing is left of it', async () => {
      using open = await world.open();
      for (const options of REFUSED) {
        refused(open.dma, 'EINVAL', JSON.stringify(options), () => open.dma.createPool('bad', options));
      }
      for (const name of ['', undefined, null, 5]) {
        refused(open.dma, 'EINVAL', String(name), () => open.dma.createPool(name as string, { size: 64 }));
      }
      assert.equal(open.dma.createPool('x'.repeat(40), { size: 8 }).name, 'x'.repeat(31));
    });

    it('give each block bytes of its own, which the device shares', async () => {
      using open = await world.open();
      using pool = open.dma.createPool('shared', { size: 200, align: 8 });
      const blocks = Array.from({ length: 45 }, () => pool.alloc()!);
      for (const [i, block] of blocks.entries()) block.bytes.set(pattern(200, i));
      for (const block of touched(world, blocks)) {
        const i = blocks.indexOf(block);
        sameBytes(await open.read(block.dmaAddress, 200), pattern(200, i), `block ${i}`);
        await open.write(block.dmaAddress + 8n, new Uint8Array(8).fill(i));
        assert.ok(block.bytes.subarray(8, 16).every((byte) => byte === i));
        assert.equal(open.dma.addressOf(block.bytes), block.dmaAddress);
      }
      assert.ok(blocks.every(({ bytes }, i) => bytes[199] === pattern(200, i)[199]));
      for (const block of blocks) block.free();
      const zeroed = pool.zalloc()!;
      assert.equal(zeroed, blocks[44], 'the last freed comes first');
      assert.ok(zeroed.bytes.every((byte) => byte === 0));
      zeroed.free();
    });

    it('catch a second free, a foreign block, and use after free or destroy', async () => {
      using open = await world.open();
      const { dma } = open;
      const pool = dma.createPool('one', { size: 64 });
      const other = dma.createPool('two', { size: 64 });
      const block = pool.alloc()!;
      const stats = pool.stats();
      refused(dma, 'EINVAL', 'foreign block', () => other.free(block));
      for (const what of [undefined, null, {}, 5, { pool, dmaAddress: 0n }]) {
        refused(dma, 'EINVAL', String(what), () => pool.free(what as DmaPoolBlock));
      }
      assert.deepEqual(pool.stats(), stats);
      pool.free(block);
      refused(dma, 'EINVAL', 'second free', () => pool.free(block));
      refused(dma, 'EINVAL', 'second free', () => block.free());
      for (const use of [
        () => block.bytes,
        () => block.dmaAddress,
        () => block.low,
        () => block.high,
        () => block.load32(0),
      ]) {
        refused(dma, 'EINVAL', 'use after free', use);
      }
      pool.destroy();
      refused(dma, 'ENODEV', 'second destroy', () => pool.destroy());
      refused(dma, 'ENODEV', 'alloc after destroy', () => pool.alloc());
      refused(dma, 'ENODEV', 'free after destroy', () => pool.free(block));
    });

    it('allocate and free many at once: all of them or none, by object and by index', async () => {
      using open = await world.open();
      const { dma } = open;
      // One page.
      const all = PAGE / 64;
      using pool = dma.createPool('batch', { size: 64, align: 64, blocks: all, grow: false });
      const other = dma.createPool('other', { size: 64 });
      const batch: DmaPoolBlock[] = new Array(40).fill(undefined);
      assert.equal(pool.allocMany(batch), true);
      assert.equal(new Set(batch.map(({ dmaAddress }) => dmaAddress)).size, 40);
      for (const [i, block] of touched(world, batch).entries()) {
        block.bytes.set(pattern(64, i));
        sameBytes(await open.read(block.dmaAddress, 64), pattern(64, i), `block ${i}`);
        assert.equal(pool.block(block.index), block);
      }
      assert.equal(pool.allocMany(new Array(all - 39)), false, 'more than there are');
      assert.equal(pool.allocIndices(new Int32Array(all - 39)), false, 'more than there are');
      assert.equal(pool.stats().active, 40, 'nothing was allocated');

      const single = other.alloc()!;
      for (let at = 0; at < 40; at++) {
        for (const bad of [batch[(at + 1) % 40]!, single, undefined, null, { pool, index: at }]) {
          const mixed = batch.with(at, bad as DmaPoolBlock);
          refused(dma, 'EINVAL', `place ${at}`, () => pool.freeMany(mixed));
        }
        const indices = batch.map(({ index }) => index);
        for (const bad of [indices[(at + 1) % 40]!, all, -1, 0.5, Number.NaN, '0' as unknown as number]) {
          const mixed = indices.with(at, bad);
          refused(dma, 'EINVAL', `place ${at}`, () => pool.freeIndices(mixed));
        }
      }
      for (const count of [-1, 0.5, 41, Number.NaN, 2 ** 32 + 1]) {
        refused(dma, 'EINVAL', `count ${count}`, () => pool.freeMany(batch, count));
        refused(dma, 'EINVAL', `count ${count}`, () => pool.allocMany(batch, count));
      }
      for (const nothing of [undefined, null, 5, { length: 1 }, new Uint8Array(4)]) {
        refused(dma, 'EINVAL', String(nothing), () => pool.freeIndices(nothing as never));
        refused(dma, 'EINVAL', String(nothing), () => pool.allocMany(nothing as never));
      }
      assert.equal(pool.stats().active, 40, 'nothing was freed');
      for (const block of batch)
        assert.equal(block.bytes.length, 64, 'a block of a batch that failed is live');

      pool.freeMany(batch, 3);
      refused(dma, 'EINVAL', 'a second time', () => pool.freeMany(batch));
      refused(dma, 'EINVAL', 'a second time', () => pool.free(batch[2]!));
      pool.free(batch[3]!);
      refused(dma, 'EINVAL', 'a second time', () => pool.freeMany([batch[3]!]));
      pool.freeIndices(batch.slice(4).map(({ index }) => index));
      assert.equal(pool.stats().active, 0);
      const indices = new Int32Array(all);
      assert.equal(pool.allocIndices(indices), true, 'blocks of `alloc` and of batches');
      assert.deepEqual(
        [...indices].sort((a, b) => a - b),
        Array.from(indices, (_, i) => i),
      );
      assert.equal(pool.alloc(), null);
      pool.freeIndices(indices);
      const frozen = Object.freeze(new Array<number>(9).fill(0)) as number[];
      refused(dma, 'EINVAL', 'a frozen array', () => pool.allocIndices(frozen));
      refused(dma, 'EINVAL', 'a frozen array', () => pool.allocMany(frozen as never[]));
      assert.equal(pool.allocIndices(indices), true, 'no block was lost');
      pool.freeIndices(indices);
      const last = pool.alloc()!;
      assert.equal(pool.stats().active, 1, '`alloc` takes blocks that a batch freed');
      last.free();
      other.free(single);
      other.destroy();
      refused(dma, 'ENODEV', 'after destroy', () => other.allocMany(batch));
      refused(dma, 'ENODEV', 'after destroy', () => other.freeMany([single]));
      refused(dma, 'ENODEV', 'after destroy', () => other.freeIndices([0]));
    });

    it('keep memory mapped when they are destroyed busy', async () => {
      using open = await world.open();
      const pool = open.dma.createPool('busy', { size: 512 });
      const block = pool.alloc()!;
      const address = block.dmaAddress;
      assert.throws(() => pool.destroy(), {
        code: 'EBUSY',
        message: new RegExp(`1 of ${PAGE / 512} blocks still out`),
      });
      const faults = open.faults.length;
      await open.write(address, new Uint8Array(512).fill(1));
      assert.equal(open.faults.length, faults, 'the device still reaches it');
    });

    it('notice writes to a free block when poisoned', async () => {
      using open = await world.open();
      const pool = open.dma.createPool('poisoned', { size: 100, align: 4, poison: true });
      const block = pool.alloc()!;
      assert.ok(block.bytes.every((byte) => byte === 0xa9));
      const address = block.dmaAddress;
      block.free();
      sameBytes(await open.read(address, 100), new Uint8Array(100).fill(0xa7), 'a free block');
      await open.write(address + 40n, Uint8Array.of(1, 2, 3));
      assert.throws(() => pool.alloc(), { code: 'EFAULT', message: /offset 40 on it holds 01 02 03/ });
      assert.notEqual(pool.alloc()!.dmaAddress, address, 'it is not used again');
      const batch: DmaPoolBlock[] = new Array(8).fill(undefined);
      assert.equal(pool.allocMany(batch), true);
      assert.ok(batch.every(({ bytes }) => bytes[99] === 0xa9));
      const spoiled = batch[5]!.dmaAddress;
      const { active } = pool.stats();
      pool.freeMany(batch);
      await open.write(spoiled, Uint8Array.of(1));
      assert.throws(() => pool.allocMany(batch), { code: 'EFAULT', message: /offset 0 on it holds 01/ });
      assert.equal(pool.stats().active, active - 8, 'a batch with a written block allocates nothing');
      const indices = new Array<number>(8).fill(0);
      assert.equal(pool.allocIndices(indices), true);
      assert.ok(indices.every((index) => pool.block(index).dmaAddress !== spoiled));
      assert.ok(indices.every((index) => pool.block(index).bytes[0] === 0xa9));
      const first = pool.block(indices[0]!).dmaAddress;
      pool.freeIndices(indices);
      sameBytes(await open.read(first, 1), Uint8Array.of(0xa7), 'freed in a batch');
    });
  });
}

function lastOut(active: number, out: readonly DmaPoolBlock[], next: DmaPoolBlock): DmaPoolBlock {
  assert.equal(active, 1);
  assert.equal(next, out.at(-1), 'the last freed comes first');
  return next;
}
