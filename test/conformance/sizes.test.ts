/**
 * Every size, from nothing to beyond what a number can count, at each call that takes one: memory, null where the call
 * has that answer, or a DmaError with a code that the call documents. Nothing else, and nothing is left behind.
 */
import { type DmaDevice, DmaError, dmaBitMask, openPci } from '../../lib/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { assert, describe, it } from '../harness.ts';
import { Master } from '../master.ts';
import { stateOf } from './bytes.ts';
import { worlds } from './worlds.ts';

/** 2^k and its neighbours, as far as numbers are exact, and what comes after that. */
const SIZES: readonly number[] = [
  ...Array.from({ length: 54 }, (_, k) => [2 ** k - 1, 2 ** k, 2 ** k + 1]).flat(),
  2 ** 53 + 2,
  2 ** 60,
  2 ** 64,
  1e308,
];

const NO_SIZES: readonly unknown[] = [
  ...[-0, -1, -4096, -(2 ** 53), 0.5, 4095.5, Number.MIN_VALUE, Number.EPSILON],
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  ...[null, '4096', 4096n, {}, [], true, Symbol('size')],
];

/** Sizes between these may be had, and take the memory of the machine that the test runs on. */
const SHORT = 2 ** 20;
const LONG = 2 ** 48;

interface Call {
  readonly name: string;
  /** Codes that the call documents. */
  readonly codes: readonly string[];
  /** What came of it: freed again, or null. */
  act(dma: DmaDevice, size: number): void;
}

const MEMORY = ['EINVAL', 'ENOMEM', 'ENOSPC'];

const calls: readonly Call[] = [
  { name: 'allocCoherent', codes: MEMORY, act: (dma, size) => dma.allocCoherent(size).free() },
  {
    name: 'allocNoncoherent',
    codes: MEMORY,
    act: (dma, size) => dma.allocNoncoherent(size, 'bidirectional').free(),
  },
  { name: 'allocPages', codes: MEMORY, act: (dma, size) => dma.allocPages(size, 'to-device').free() },
  {
    name: 'allocNoncontiguous',
    codes: MEMORY,
    act: (dma, size) => dma.allocNoncontiguous(size, 'from-device').free(),
  },
  { name: 'reserveIova', codes: ['EINVAL'], act: (dma, size) => dma.reserveIova(size)?.free() },
  { name: 'a pool of blocks of', codes: ['EINVAL'], act: (dma, size) => usePool(dma, { size }) },
  {
    name: 'a pool with a first block of',
    codes: MEMORY,
    act: (dma, size) => usePool(dma, { size, blocks: 1, grow: false }),
  },
  { name: 'a pool aligned to', codes: ['EINVAL'], act: (dma, align) => usePool(dma, { size: 16, align }) },
  {
    name: 'a pool with a boundary of',
    codes: ['EINVAL'],
    act: (dma, boundary) => usePool(dma, { size: 16, boundary }),
  },
  {
    name: 'a pool aligned to, with blocks and a boundary of',
    codes: ['EINVAL'],
    act: (dma, align) => usePool(dma, { size: atMost(align, 2 ** 31 - 1), align, boundary: align }),
  },
  {
    name: 'a poisoned pool of blocks of',
    codes: ['EINVAL'],
    act: (dma, size) => usePool(dma, { size: atMost(size, 2 ** 20), align: size, poison: true }),
  },
];

/** What is no number stays what it is. */
function atMost(size: number, most: number): number {
  return typeof size === 'number' && size > most ? most : size;
}

function usePool(dma: DmaDevice, options: Parameters<DmaDevice['createPool']>[1]): void {
  const pool = dma.createPool('sizes', options);
  try {
    // null: there is no memory.
    const block = pool.alloc();
    if (block === null) return;
    assert.equal(block.bytes.length, pool.size);
    block.free();
  } finally {
    pool.destroy();
  }
}

/** Blocks, of which each is an object: a pool takes so many at once, and no more. */
const COUNTS = [0, 1, 2, 1000, 2 ** 24 + 1, 2 ** 31, 2 ** 32, 2 ** 53, 1e308];

/** Every size at one call. @returns how many were to be had */
function sweep(dma: DmaDevice, call: Call, sizes: readonly unknown[]): number {
  const before = stateOf(dma);
  let had = 0;
  for (const size of sizes) {
    const what = `${call.name} ${String(size)}`;
    try {
      call.act(dma, size as number);
      had++;
    } catch (error) {
      assert.ok(error instanceof DmaError, `${what}: ${String(error)}`);
      assert.ok(call.codes.includes(error.code), `${what}: ${error.message}`);
      assert.match(error.message, /; /, `${what}: no remedy in "${error.message}"`);
    }
    assert.deepEqual(stateOf(dma), before, what);
  }
  return had;
}

for (const world of worlds) {
  describe(`sizes: ${world.name}`, () => {
    for (const call of calls) {
      it(`${call.name} any size is memory, null or a coded error`, async () => {
        using open = await world.open();
        const { dma } = open;
        if (world.simulated) dma.setMaskAndCoherent(dmaBitMask(64));
        const short = SIZES.filter((size) => size <= SHORT || size >= LONG);
        const had = sweep(dma, call, [...short, ...NO_SIZES]);
        assert.ok(had > 0, 'none of them was to be had');
      });
    }

    it('a pool of any number of blocks is a pool, or a coded error', async () => {
      using open = await world.open();
      const { dma } = open;
      for (const blocks of [...COUNTS, ...NO_SIZES] as number[]) {
        try {
          dma.createPool('blocks', { size: 64, blocks }).destroy();
        } catch (error) {
          assert.ok(error instanceof DmaError, `${String(blocks)}: ${String(error)}`);
          assert.equal(error.code, 'EINVAL', error.message);
        }
      }
      assert.equal(dma.live.length, world.simulated ? 0 : 1);
    });
  });
}

describe('sizes: little memory', () => {
  // A simulation needs no virtual machine.
  for (const iommu of worlds[0]!.simulated ? [true, false] : []) {
    for (const call of calls) {
      it(`${call.name} any size is memory, null or a coded error, ${iommu ? 'IOMMU' : 'direct'}`, async () => {
        const source = simulate(new Master(), { iommu, memoryLimit: 2 ** 22 });
        const fn = await openPci(source, { debug: false, streaming: { bounce: { total: 2 ** 20 } } });
        fn.dma.setMaskAndCoherent(dmaBitMask(64));
        assert.ok(sweep(fn.dma, call, SIZES) > 0, 'none of them was to be had');
        fn.close();
      });
    }
  }
});
