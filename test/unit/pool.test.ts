import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DmaDevice } from '../../lib/dma/device.ts';
import type { DmaPoolBlock } from '../../lib/dma/pool/block.ts';
import { poolLayout } from '../../lib/dma/pool/layout.ts';
import type { DmaPool } from '../../lib/dma/pool/pool.ts';
import { dmaBitMask } from '../../lib/dma/words/mask.ts';
import { DmaError, type ErrnoName } from '../../lib/errors.ts';
import { SimulatedAddressSpace, type SimulatedAddressSpaceOptions } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { detach } from './streaming-fixture.ts';

const PAGE = 4096;

interface World {
  readonly dma: DmaDevice;
  readonly space: SimulatedAddressSpace;
  readonly memory: HeapMemory;
}

function world(space: SimulatedAddressSpaceOptions = {}, limit?: number): World {
  const memory = new HeapMemory(limit === undefined ? {} : { limit });
  const addressSpace = new SimulatedAddressSpace(space);
  return { dma: new DmaDevice({ name: 'test', memory, addressSpace }), space: addressSpace, memory };
}

function fails(code: ErrnoName, action: () => unknown): DmaError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(DmaError);
    expect(error).toMatchObject({ code });
    return error as DmaError;
  }
  throw new Error(`${code} expected, nothing was thrown`);
}

function take(pool: DmaPool, count: number): DmaPoolBlock[] {
  return Array.from({ length: count }, () => pool.alloc()!);
}

const addresses = (blocks: readonly DmaPoolBlock[]) => blocks.map((block) => Number(block.dmaAddress));

let dma: DmaDevice;
let space: SimulatedAddressSpace;
let memory: HeapMemory;

beforeEach(() => {
  ({ dma, space, memory } = world());
});
afterEach(() => dma.close());

describe('the layout of a pool', () => {
  // size, align, boundary -> bytes per block, effective boundary, unit. mm/dmapool.c, pages of 4 KiB.
  it.each([
    [1, 1, 0, 1, 4096, 4096],
    [8, 0, 0, 8, 4096, 4096],
    [68, 32, 4096, 96, 4096, 4096],
    [100, 64, 0, 128, 4096, 4096],
    [64, 64, 8192, 64, 4096, 4096],
    [24, 1, 32, 24, 32, 4096],
    [4097, 1, 0, 4097, 4097, 4097],
    [4097, 1, 8192, 4097, 4097, 4097],
    [8, 8192, 0, 8192, 8192, 8192],
    [8, 8192, 65536, 8192, 8192, 8192],
    [2 ** 31 - 1, 1, 0, 2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1],
  ])('size %i align %i boundary %i', (size, align, boundary, rounded, effective, unit) => {
    expect(poolLayout({ size, align, boundary }, PAGE)).toMatchObject({
      size: rounded,
      boundary: effective,
      unit,
    });
  });

  it.each([
    ['no size', { size: 0 }],
    ['a size beyond INT_MAX', { size: 2 ** 31 }],
    ['half a byte', { size: 1.5 }],
    ['a negative size', { size: -64 }],
    ['an alignment of 3', { size: 64, align: 3 }],
    ['a negative alignment', { size: 64, align: -8 }],
    ['an alignment of 2^53 - 1', { size: 64, align: 2 ** 53 - 1 }],
    ['a boundary of 3 blocks', { size: 64, boundary: 192 }],
    ['a boundary below the size', { size: 64, boundary: 32 }],
    ['a boundary below the rounded size', { size: 100, align: 128, boundary: 64 }],
    ['a boundary that holds the size but not its rounding', { size: 100, align: 256, boundary: 128 }],
    ['a boundary that is no number', { size: 64, boundary: Number.NaN }],
    ['a negative number of blocks', { size: 64, blocks: -1 }],
    ['a pool that can never have a block', { size: 64, grow: false }],
  ])('refuses %s', (_what, options) => {
    fails('EINVAL', () => dma.createPool('bad', options));
    expect(memory.used).toBe(0);
  });

  it('refuses a name that is none, and cuts a long one as the kernel does', () => {
    fails('EINVAL', () => dma.createPool('', { size: 8 }));
    fails('EINVAL', () => dma.createPool(undefined as unknown as string, { size: 8 }));
    expect(dma.createPool('x'.repeat(40), { size: 8 }).stats().name).toBe('x'.repeat(31));
  });

  it('takes a page from the system, not for granted', () => {
    const big = world({ pageSize: 65536 });
    const pool = big.dma.createPool('big pages', { size: 4096, boundary: 32768 });
    expect(addresses(take(pool, 16)).map((address) => address % 65536)).toEqual(
      Array.from({ length: 16 }, (_, index) => index * 4096),
    );
    expect(pool.stats().pages).toBe(1);
    big.dma.close();
  });
});

describe('carving', () => {
  it('hands a fresh page out in ascending order, from its first byte', () => {
    const blocks = addresses(take(dma.createPool('p', { size: 64 }), 64));
    expect(blocks[0]! % PAGE).toBe(0);
    expect(blocks).toEqual(blocks.map((_, index) => blocks[0]! + 64 * index));
  });

  it('makes 42 blocks of 68 bytes aligned to 32 in a page', () => {
    const pool = dma.createPool('p', { size: 68, align: 32, boundary: 4096 });
    const blocks = addresses(take(pool, 42));
    expect(blocks.map((address) => address - blocks[0]!)).toEqual(blocks.map((_, index) => index * 96));
    expect(pool.stats()).toMatchObject({ total: 42, pages: 1, size: 96 });
    pool.alloc();
    expect(pool.stats()).toMatchObject({ total: 84, pages: 2 });
  });

  it('restarts at a boundary that a block would cross', () => {
    const blocks = addresses(take(dma.createPool('p', { size: 24, boundary: 64 }), 6));
    expect(blocks.map((address) => address - blocks[0]!)).toEqual([0, 24, 64, 88, 128, 152]);
  });

  it('gives a block larger than a page memory and alignment of its own', () => {
    const pool = dma.createPool('p', { size: 5000 });
    const blocks = take(pool, 5);
    for (const block of blocks) {
      expect(Number(block.dmaAddress) % 8192).toBe(0);
      expect(block.bytes.length).toBe(5000);
    }
    expect(pool.stats()).toMatchObject({ total: 5, pages: 5, mapped: 5 * 8192 });
  });

  it('needs few mappings for many blocks', () => {
    const pool = dma.createPool('p', { size: 64, align: 64 });
    take(pool, 100_000);
    expect(space.stats.mappings).toBeLessThan(16);
    expect(pool.stats().mapped).toBeLessThan(100_000 * 64 + 2 ** 21 + PAGE);
  });

  it('starts with one page', () => {
    dma.createPool('p', { size: 64 }).alloc();
    expect(memory.used).toBe(PAGE);
  });
});

describe('a block', () => {
  it('is memory and its address, shared with the device', () => {
    const [first, second] = take(dma.createPool('p', { size: 64 }), 2) as [DmaPoolBlock, DmaPoolBlock];
    expect(second.bytes.byteOffset - first.bytes.byteOffset).toBe(64);
    expect(second.bytes.buffer).toBe(first.bytes.buffer);
    expect(second.bytes).toBe(second.bytes);
    expect(second.size).toBe(64);
    expect(second.dmaAddress).toBe((BigInt(second.high) << 32n) | BigInt(second.low));
    second.bytes.fill(0x5a);
    expect(first.bytes.every((byte) => byte === 0)).toBe(true);
  });

  it('is memory of the device: mapping it costs nothing, until the pool is gone', () => {
    const pool = dma.createPool('p', { size: 64 });
    const [, block] = take(pool, 2) as [DmaPoolBlock, DmaPoolBlock];
    const { bytes } = block;
    expect(dma.addressOf(bytes)).toBe(block.dmaAddress);
    expect(dma.addressOf(bytes.subarray(8))).toBe(block.dmaAddress + 8n);
    using mapping = dma.mapSingle(bytes, 'to-device');
    expect(mapping.way).toBe('arithmetic');
    fails('EBUSY', () => pool.destroy());
    expect(dma.addressOf(bytes)).toBeDefined();

    const idle = dma.createPool('idle', { size: 64 });
    const gone = idle.alloc()!;
    const view = gone.bytes;
    gone.free();
    idle.destroy();
    fails('EINVAL', () => dma.addressOf(view));
  });

  it('splits an address above 4 GiB, and one with bit 31 set', () => {
    for (const start of [0x12_8000_0000, 0x8000_0000]) {
      const far = world({ ranges: [{ start, end: start + 0xffff }] });
      far.dma.setMaskAndCoherent(dmaBitMask(64));
      const block = far.dma.createPool('far', { size: 64 }).alloc()!;
      expect(block.low).toBeGreaterThanOrEqual(0x8000_0000);
      expect(block.high).toBe(start > 2 ** 32 ? 0x12 : 0);
      expect((BigInt(block.high) << 32n) | BigInt(block.low)).toBe(block.dmaAddress);
      far.dma.close();
    }
  });

  it('reads words whole', () => {
    const [, block] = take(dma.createPool('p', { size: 16, align: 16 }), 2) as [DmaPoolBlock, DmaPoolBlock];
    block.bytes.set([1, 2, 3, 4, 5, 6, 7, 0xf8]);
    expect(block.load32(4)).toBe(0xf8070605);
    expect(block.load64(0)).toBe(0xf807060504030201n);
    for (const offset of [1, 2, -4, 16, 1.5, Number.NaN]) fails('EINVAL', () => block.load32(offset));
    for (const offset of [4, 16, -8]) fails('EINVAL', () => block.load64(offset));
  });

  it('refuses words of a block that is not aligned itself', () => {
    const [, block] = take(dma.createPool('p', { size: 6 }), 2) as [DmaPoolBlock, DmaPoolBlock];
    fails('EINVAL', () => block.load32(0));
    expect(block.load32(2)).toBe(0);
  });

  it('is no longer usable once freed', () => {
    const block = dma.createPool('p', { size: 64 }).alloc()!;
    block.free();
    for (const use of [
      () => block.bytes,
      () => block.dmaAddress,
      () => block.low,
      () => block.high,
      () => block.load32(0),
      () => block.load64(0),
      () => block.free(),
    ]) {
      fails('EINVAL', use);
    }
  });

  it('is freed by leaving its scope, once', () => {
    const pool = dma.createPool('p', { size: 64 });
    {
      using block = pool.alloc()!;
      expect(block.bytes.length).toBe(64);
      using other = pool.alloc()!;
      other.free();
      expect(pool.stats().active).toBe(1);
    }
    expect(pool.stats().active).toBe(0);
  });

  it('says so when someone has taken its memory away', () => {
    const [block, other] = take(dma.createPool('p', { size: 64 }), 2) as [DmaPoolBlock, DmaPoolBlock];
    detach(block.bytes.buffer);
    expect(block.bytes.length).toBe(0);
    fails('EFAULT', () => other.bytes);
    fails('EINVAL', () => other.load32(0));
    other.pool.free(block);
    other.free();
    expect(() => other.pool.zalloc()).not.toThrow();
  });

  it('says so in blocks of every size, poisoned or not, and loses none', () => {
    for (const size of [64, 1024]) {
      for (const poison of [false, true]) {
        const pool = dma.createPool('p', { size, poison });
        const [block, other, kept] = take(pool, 3) as [DmaPoolBlock, DmaPoolBlock, DmaPoolBlock];
        detach(block.bytes.buffer);
        block.free();
        other.free();
        if (poison) {
          fails('EFAULT', () => pool.alloc());
          fails('EFAULT', () => pool.zalloc());
        } else {
          pool.zalloc()!.free();
        }
        kept.free();
        expect(pool.stats().active).toBe(0);
        pool.destroy();
      }
    }
  });
});

describe('alloc and free', () => {
  it('hand out the block that came back last, the same object', () => {
    const pool = dma.createPool('p', { size: 64 });
    const [first, second, third] = take(pool, 3) as [DmaPoolBlock, DmaPoolBlock, DmaPoolBlock];
    pool.free(second);
    pool.free(first);
    pool.free(third);
    expect(take(pool, 3)).toEqual([third, first, second]);
  });

  it('leave the bytes alone; zalloc clears all of them and no other', () => {
    for (const [size, align] of [
      [1, 1],
      [3, 1],
      [12, 4],
      [64, 64],
      [256, 8],
      [264, 8],
      [1000, 8],
      [4096, 1],
    ] as const) {
      const pool = dma.createPool('p', { size, align });
      const blocks = take(pool, 3) as [DmaPoolBlock, DmaPoolBlock, DmaPoolBlock];
      for (const block of blocks) block.bytes.fill(0xee);
      pool.free(blocks[1]);
      expect(pool.alloc()!.bytes).toEqual(new Uint8Array(size).fill(0xee));
      pool.free(blocks[1]);
      expect(pool.zalloc()!.bytes).toEqual(new Uint8Array(size));
      expect(blocks[0].bytes).toEqual(new Uint8Array(size).fill(0xee));
      expect(blocks[2].bytes).toEqual(new Uint8Array(size).fill(0xee));
    }
  });

  it('refuse a block twice, of another pool, or none at all, and change nothing', () => {
    const pool = dma.createPool('mine', { size: 64 });
    const other = dma.createPool('yours', { size: 64 });
    const [block, kept] = take(pool, 2) as [DmaPoolBlock, DmaPoolBlock];
    const foreign = other.alloc()!;
    expect(fails('EINVAL', () => pool.free(foreign)).message).toContain(`'yours'`);
    for (const nonsense of [
      undefined,
      null,
      7,
      'block',
      {},
      [],
      kept.bytes,
      { pool, link: -2, index: 0, out: false },
    ]) {
      fails('EINVAL', () => pool.free(nonsense as unknown as DmaPoolBlock));
    }
    pool.free(block);
    expect(fails('EINVAL', () => pool.free(block)).message).toContain('free already');
    expect(pool.stats()).toMatchObject({ active: 1, total: 64 });
    expect(other.stats().active).toBe(1);
    expect(pool.alloc()).toBe(block);
    expect(new Set([block, kept, ...take(pool, 62)]).size).toBe(64);
  });
});

describe('growth', () => {
  it('ends with null when memory does, and goes on when there is some again', () => {
    const small = world({}, 3 * PAGE);
    const spare = small.dma.allocCoherent(PAGE);
    const pool = small.dma.createPool('p', { size: 1024 });
    take(pool, 8);
    expect(pool.alloc()).toBeNull();
    expect(pool.zalloc()).toBeNull();
    expect(pool.stats()).toMatchObject({ active: 8, total: 8, pages: 2 });
    spare.free();
    expect(pool.alloc()).not.toBeNull();
    small.dma.close();
  });

  it('ends with null when mappings do', () => {
    const small = world({ mappingLimit: 2 });
    const pool = small.dma.createPool('p', { size: 4096 });
    expect(take(pool, 3)).not.toContain(null); // one page, then two at once
    expect(pool.alloc()).toBeNull();
    small.dma.close();
  });

  it('takes the last page of memory although it would have liked more', () => {
    const small = world({}, 4 * PAGE);
    expect(take(small.dma.createPool('p', { size: 4096 }), 4)).not.toContain(null);
    small.dma.close();
  });

  it('obeys the coherent mask of the moment, and leaves alone what is mapped beyond it', () => {
    const ranges = [
      { start: 0x10_0000, end: 0x10_3fff },
      { start: 2 ** 33, end: 2 ** 34 },
    ];
    const wide = world({ ranges });
    wide.dma.setCoherentMask(dmaBitMask(40));
    const pool = wide.dma.createPool('p', { size: PAGE });
    const before = take(pool, 4); // 1 page and 2 pages below, then 4 above, of which 3 are not carved yet
    expect(addresses(before).map((address) => address >= 2 ** 33)).toEqual([false, false, false, true]);
    wide.dma.setCoherentMask(dmaBitMask(21));
    expect(Number(pool.alloc()!.dmaAddress)).toBeLessThan(2 ** 21);
    expect(pool.alloc()).toBeNull();
    pool.free(before[3]!);
    expect(pool.alloc()).toBe(before[3]);
    wide.dma.close();
  });

  it('does not happen when it was not wanted', () => {
    const pool = dma.createPool('p', { size: 1024, blocks: 6, grow: false });
    expect(pool.stats()).toMatchObject({ active: 0, total: 8, pages: 2 });
    const blocks = take(pool, 8);
    expect(pool.alloc()).toBeNull();
    pool.free(blocks[3]!);
    expect(pool.alloc()).toBe(blocks[3]);
  });

  it('that fails at creation leaves nothing behind', () => {
    const small = world({}, 2 * PAGE);
    fails('ENOMEM', () => small.dma.createPool('p', { size: 4096, blocks: 3 }));
    expect(small.memory.used).toBe(0);
    expect(small.space.stats.mappings).toBe(0);
    small.dma.close();
  });
});

describe('destroy', () => {
  it('gives everything back and kills every view', () => {
    const pool = dma.createPool('p', { size: 64 });
    const blocks = take(pool, 500);
    const { bytes } = blocks[499]!;
    for (const block of blocks) pool.free(block);
    pool.destroy();
    expect(bytes.length).toBe(0);
    expect(memory.used).toBe(0);
    expect(space.stats.mappings).toBe(0);
    expect(pool.closed).toBe(true);
  });

  it('refuses every use afterwards', () => {
    const pool = dma.createPool('p', { size: 64 });
    const block = pool.alloc()!;
    pool.free(block);
    pool.destroy();
    for (const use of [
      () => pool.alloc(),
      () => pool.zalloc(),
      () => pool.free(block),
      () => pool.destroy(),
    ]) {
      fails('ENODEV', use);
    }
    fails('EINVAL', () => block.bytes);
    block[Symbol.dispose]();
    pool[Symbol.dispose]();
  });

  it('of a busy pool says which blocks are out, and keeps the memory mapped', () => {
    const pool = dma.createPool('commands', { size: 64 });
    const blocks = take(pool, 7);
    const bytes = blocks.map((block) => block.bytes);
    const [freed, first] = blocks as [DmaPoolBlock, DmaPoolBlock];
    const where = first.dmaAddress.toString(16);
    pool.free(freed);
    const { message } = fails('EBUSY', () => pool.destroy());
    expect(message).toContain(`'commands'`);
    expect(message).toContain('6 of 64');
    expect(message).toContain(`0x${where}, `);
    expect(space.stats.mappings).toBe(1);
    expect(bytes[1]!.length).toBe(64);
    fails('ENODEV', () => pool.free(first));
    fails('ENODEV', () => pool.alloc());
    fails('EINVAL', () => first.low);
    dma.close();
    expect(bytes[1]!.length).toBe(0);
  });

  it.each([1, 4, 5, 9])('of a pool with %i blocks out names the first four', (count) => {
    const blocks = take(dma.createPool('p', { size: 64 }), count);
    const names = blocks.slice(0, 4).map((block) => `0x${block.dmaAddress.toString(16)}`);
    const { message } = fails('EBUSY', () => blocks[0]!.pool.destroy());
    expect(message).toContain(`still out (${names.join(', ')}${count > 4 ? ', ...' : ''});`);
  });

  it('comes with the device', () => {
    const pool = dma.createPool('p', { size: 64 });
    const block = pool.alloc()!;
    const { bytes } = block;
    dma.close();
    expect(bytes.length).toBe(0);
    expect(fails('ENODEV', () => pool.alloc()).message).toContain('closed with its device');
    fails('ENODEV', () => pool.free(block));
    fails('EINVAL', () => block.dmaAddress);
    block[Symbol.dispose]();
    pool[Symbol.dispose]();
    fails('ENODEV', () => dma.createPool('late', { size: 64 }));
  });

  it('of the device: what is out can be read and freed, alone and in a batch, and nothing is allocated', () => {
    const pool = dma.createPool('p', { size: 64 });
    const blocks = take(pool, 10);
    pool.freeMany(blocks.slice(8));
    pool.abandon(new DmaError('ENODEV', 'gone', { remedy: 'none' }));
    expect(blocks.slice(0, 8).map(({ bytes }) => bytes.length)).toEqual(new Array(8).fill(64));
    fails('EINVAL', () => pool.freeMany([...blocks.slice(0, 7), blocks[6]!]));
    expect(pool.stats().active).toBe(8);
    pool.free(blocks[0]!);
    fails('EINVAL', () => pool.free(blocks[0]!));
    pool.freeMany(blocks.slice(1, 4));
    pool.freeIndices(blocks.slice(4, 7).map(({ index }) => index));
    fails('ENODEV', () => pool.alloc());
    fails('ENODEV', () => pool.allocMany([undefined]));
    fails('ENODEV', () => pool.allocIndices([0]));
    fails('EINVAL', () => blocks[2]!.low);
    expect(fails('EBUSY', () => pool.destroy()).message).toContain('1 of 64 blocks');
  });

  it('happens at the end of a scope', () => {
    {
      using pool = dma.createPool('p', { size: 64 });
      using _block = pool.alloc()!;
    }
    expect(memory.used).toBe(0);
  });
});

describe('a poisoned pool', () => {
  const options = { size: 32, poison: true };

  it('marks what is allocated and what is free', () => {
    const pool = dma.createPool('p', options);
    const block = pool.alloc()!;
    const { bytes } = block;
    expect(bytes).toEqual(new Uint8Array(32).fill(0xa9));
    expect(new Uint8Array(bytes.buffer, 32, 32)).toEqual(new Uint8Array(32).fill(0xa7));
    block.free();
    expect(bytes).toEqual(new Uint8Array(32).fill(0xa7));
    expect(pool.zalloc()!.bytes).toEqual(new Uint8Array(32));
  });

  it('reports a write to a free block: where, what, and takes the block out of use', () => {
    const pool = dma.createPool('p', options);
    const block = pool.alloc()!;
    const { bytes, dmaAddress } = block;
    block.free();
    bytes.set([0xde, 0xad], 5);
    const { message } = fails('EFAULT', () => pool.alloc());
    expect(message).toContain(`0x${dmaAddress.toString(16)}`);
    expect(message).toMatch(/offset 5 .*de ad;/);
    const rest = take(pool, 200);
    expect(rest).not.toContain(block);
    fails('EINVAL', () => pool.free(block));
    expect(pool.stats().active).toBe(200);
    for (const other of rest) other.free();
    pool.destroy();
    expect(memory.used).toBe(0);
  });

  it('checks what every pool checks', () => {
    const pool = dma.createPool('p', options);
    const block = pool.alloc()!;
    fails('EINVAL', () => pool.free({} as DmaPoolBlock));
    pool.free(block);
    fails('EINVAL', () => pool.free(block));
    expect(pool.alloc()).toBe(block);
  });
});

describe('any pool, any order', () => {
  const shape = fc.record({
    size: fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 9000 })),
    align: fc.constantFrom(0, 1, 4, 8, 16, 64, 256, 4096, 8192),
    boundary: fc.constantFrom(0, 64, 512, 4096, 16384),
    poison: fc.boolean(),
  });
  /** A number picks a live block to free; -1 allocates, -2 allocates zeroed. */
  const steps = fc.array(fc.oneof(fc.constant(-1), fc.constant(-1), fc.constant(-2), fc.nat({ max: 99 })), {
    maxLength: 150,
  });

  /** Positive: allocate as many; negative: free as many of the oldest. By object, by index, or one by one. */
  const batches = fc.array(
    fc.tuple(fc.integer({ min: -40, max: 40 }), fc.constantFrom('object', 'index', 'single')),
    { maxLength: 60 },
  );

  it('agrees with a set, in batches and one by one', () => {
    fc.assert(
      fc.property(fc.constantFrom(64, 100, 5000), fc.boolean(), batches, (size, poison, sequence) => {
        const { dma } = world();
        const pool = dma.createPool('p', { size, poison });
        let out: DmaPoolBlock[] = [];
        for (const [count, how] of sequence) {
          if (count > 0) out.push(...allocated(pool, count, how));
          else freed(pool, out.splice(0, -count), how);
          expect(new Set(out).size).toBe(out.length);
          expect(pool.stats().active).toBe(out.length);
          expect(out.every(({ bytes }) => bytes.length === size)).toBe(true);
        }
        freed(pool, out, 'index');
        out = [];
        pool.destroy();
        dma.close();
      }),
      { numRuns: 200 },
    );
  });

  function allocated(pool: DmaPool, count: number, how: string): DmaPoolBlock[] {
    if (how === 'single') return take(pool, count);
    if (how === 'index') {
      const indices = new Array<number>(count).fill(0);
      expect(pool.allocIndices(indices)).toBe(true);
      return indices.map((index) => pool.block(index));
    }
    const batch = new Array<DmaPoolBlock>(count);
    expect(pool.allocMany(batch)).toBe(true);
    return batch;
  }

  function freed(pool: DmaPool, blocks: DmaPoolBlock[], how: string): void {
    if (how === 'single') for (const block of blocks) pool.free(block);
    else if (how === 'index') pool.freeIndices(Int32Array.from(blocks, ({ index }) => index));
    else pool.freeMany(blocks);
  }

  it('agrees with a naive model', () => {
    fc.assert(
      fc.property(shape, steps, (options, sequence) => {
        const { dma } = world();
        try {
          replay(dma, options, sequence);
        } finally {
          dma.close();
        }
      }),
      { numRuns: 300 },
    );
  });

  type Shape = { size: number; align: number; boundary: number; poison: boolean };

  function replay(dma: DmaDevice, options: Shape, sequence: readonly number[]): void {
    const align = options.align || 1;
    const rounded = Math.ceil(options.size / align) * align;
    if (options.boundary !== 0 && options.boundary < rounded) {
      fails('EINVAL', () => dma.createPool('p', options));
      return;
    }
    const pool = dma.createPool('p', options);
    const live: DmaPoolBlock[] = [];
    const freed: DmaPoolBlock[] = [];
    for (const [tag, step] of sequence.entries()) {
      if (step >= 0 && live.length > 0) {
        const [block] = live.splice(step % live.length, 1) as [DmaPoolBlock];
        expect(block.bytes.every((byte) => byte === block.bytes[0])).toBe(true);
        pool.free(block);
        freed.push(block);
      } else if (step < 0) {
        const block = (step === -1 ? pool.alloc() : pool.zalloc())!;
        if (freed.length > 0) expect(block).toBe(freed.pop());
        if (step === -2) expect(block.bytes.every((byte) => byte === 0)).toBe(true);
        checkPlace(
          block,
          rounded,
          align,
          Math.min(options.boundary || Infinity, Math.max(rounded, PAGE)),
          live,
        );
        block.bytes.fill(tag & 0xff);
        live.push(block);
      }
      expect(pool.stats()).toMatchObject({ active: live.length, size: rounded });
    }
    for (const block of live) expect(block.bytes.length).toBe(rounded);
    for (const block of live) pool.free(block);
    pool.destroy();
  }

  function checkPlace(
    block: DmaPoolBlock,
    size: number,
    align: number,
    boundary: number,
    live: DmaPoolBlock[],
  ): void {
    const start = Number(block.dmaAddress);
    expect(start % align).toBe(0);
    // The kernel's own effective boundary need be no power of two: then it is one block, which starts at it.
    if (Number.isInteger(Math.log2(boundary))) {
      expect(Math.floor(start / boundary)).toBe(Math.floor((start + size - 1) / boundary));
    }
    for (const other of live) {
      const distance = Math.abs(Number(other.dmaAddress) - start);
      expect(distance).toBeGreaterThanOrEqual(size);
    }
  }
});
