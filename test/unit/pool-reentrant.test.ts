/** Batches whose array runs code of the program, which calls the pool again in the middle of the batch. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DmaDevice } from '../../lib/dma/device.ts';
import type { DmaPoolBlock } from '../../lib/dma/pool/block.ts';
import type { DmaPool } from '../../lib/dma/pool/pool.ts';
import { DmaError } from '../../lib/errors.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';

const BLOCKS = 64;
/** The place in the batch at which the program calls the pool. */
const PLACES = [0, 2, 5, 8];
const COUNT = 9;

let dma: DmaDevice;
let pool: DmaPool;

beforeEach(() => {
  dma = new DmaDevice({
    name: 'test',
    memory: new HeapMemory(),
    addressSpace: new SimulatedAddressSpace({}),
  });
  pool = dma.createPool('p', { size: 64, blocks: BLOCKS, grow: false });
});
afterEach(() => dma.close());

function batchOf(count: number): DmaPoolBlock[] {
  const blocks = new Array<DmaPoolBlock>(count);
  expect(pool.allocMany(blocks)).toBe(true);
  return blocks;
}

/** The array, which calls `action` once before its element `place` is read or written. */
function calling<T>(array: T[], place: number, action: () => void): T[] {
  let called = false;
  const call = (key: string | symbol): void => {
    if (key !== String(place) || called) return;
    called = true;
    action();
  };
  return new Proxy(array, {
    get(target, key, receiver) {
      call(key);
      return Reflect.get(target, key, receiver);
    },
    set(target, key, value) {
      call(key);
      return Reflect.set(target, key, value);
    },
  });
}

/** The codes of the calls that were refused. */
function codes(actions: readonly (() => unknown)[]): (string | undefined)[] {
  return actions.map((action) => {
    try {
      action();
    } catch (error) {
      return error instanceof DmaError ? error.code : String(error);
    }
    return undefined;
  });
}

/** Every block is there once: all can be allocated, no two are the same, and all can be freed. */
function expectWhole(held: readonly DmaPoolBlock[]): void {
  expect(pool.stats().active).toBe(held.length);
  const rest = batchOf(BLOCKS - held.length);
  expect(pool.alloc()).toBeNull();
  expect(new Set([...held, ...rest]).size).toBe(BLOCKS);
  pool.freeMany(rest);
  pool.freeMany(held);
  expect(pool.stats().active).toBe(0);
  pool.destroy();
}

/** Each way to call a batch, with an array that calls `action`; the result is what the batch holds afterwards. */
const WAYS: Record<string, (place: number, action: () => void) => DmaPoolBlock[]> = {
  allocMany(place, action) {
    const into = new Array<DmaPoolBlock>(COUNT);
    expect(pool.allocMany(calling(into, place, action))).toBe(true);
    return into;
  },
  freeMany(place, action) {
    pool.freeMany(calling(batchOf(COUNT), place, action));
    return [];
  },
  allocIndices(place, action) {
    const into = new Array<number>(COUNT).fill(0);
    expect(pool.allocIndices(calling(into, place, action))).toBe(true);
    return into.map((index) => pool.block(index));
  },
  freeIndices(place, action) {
    const indices = batchOf(COUNT).map(({ index }) => index);
    pool.freeIndices(calling(indices, place, action));
    return [];
  },
};

describe.each(Object.entries(WAYS))('a batch by %s that calls its pool', (name, batch) => {
  it.each(PLACES)('at place %i is refused each further batch, and destroy', (place) => {
    const kept = batchOf(4);
    let refused: unknown[] = [];
    const held = batch(place, () => {
      refused = codes([
        () => pool.allocMany(new Array(3)),
        () => pool.freeMany(kept),
        () => pool.allocIndices([0, 0, 0]),
        () => pool.freeIndices(kept.map(({ index }) => index)),
        () => pool.destroy(),
      ]);
    });
    expect(refused).toEqual(['EBUSY', 'EBUSY', 'EBUSY', 'EBUSY', 'EBUSY']);
    expectWhole([...kept, ...held]);
  });

  it.each(PLACES)('at place %i can allocate single blocks, and free them while the batch frees', (place) => {
    const kept = batchOf(4);
    const single = pool.alloc()!;
    const more: DmaPoolBlock[] = [];
    const held = batch(place, () => {
      // A batch that allocates has blocks that are not counted yet.
      const refused = codes([() => pool.free(single), () => pool.free(kept.at(-1)!)]);
      expect(refused).toEqual(name.startsWith('free') ? [undefined, undefined] : ['EBUSY', 'EBUSY']);
      if (refused[0] === undefined) kept.pop();
      else more.push(single);
      // The second one is taken from the list, and the others would be from the stack of the batch.
      for (let i = 0; i < BLOCKS; i++) {
        const block = pool.alloc();
        if (block !== null) more.push(block);
      }
    });
    expectWhole([...kept, ...more, ...held]);
  });

  it.each(PLACES)('at place %i can throw, and changes nothing', (place) => {
    const kept = batchOf(4);
    const single = pool.alloc()!;
    const { active } = pool.stats();
    const thrown = codes([
      () =>
        batch(place, () => {
          codes([() => pool.free(single)]);
          throw new RangeError('of the program');
        }),
    ]);
    if (!name.startsWith('free')) pool.free(single);
    expect(thrown[0]).toMatch(/EINVAL|of the program|released/);
    // `freeMany` and `freeIndices` have freed none of their own.
    const added = pool.stats().active - active + 1;
    expect([0, COUNT]).toContain(added);
    expect(codes([() => pool.free(single)])).toEqual(['EINVAL']);
    expect(pool.allocMany(new Array(BLOCKS - 4 - added))).toBe(true);
    expect(pool.alloc()).toBeNull();
    pool.freeMany(kept);
  });

  it.each(PLACES)('at place %i can close the device, and then holds nothing', (place) => {
    const all = Array.from({ length: BLOCKS }, (_, index) => pool.block(index));
    expect(codes([() => batch(place, () => dma.close())])).toEqual(['ENODEV']);
    expect(pool.stats().active).toBe(0);
    for (const block of all) {
      expect(codes([() => block.bytes, () => pool.free(block)])).toEqual(['EINVAL', 'ENODEV']);
    }
    expect(codes([() => pool.alloc()])).toEqual(['ENODEV']);
  });

  it.each(PLACES)('at place %i can close the device and throw, and then holds nothing', (place) => {
    const closing = (): void => {
      dma.close();
      throw new RangeError('of the program');
    };
    expect(codes([() => batch(place, closing)])).toEqual(['ENODEV']);
    expect(pool.stats().active).toBe(0);
  });

  it.each(PLACES)('at place %i allocates nothing more once the device is gone', (place) => {
    const kept = batchOf(4);
    const held = batch(place, () => pool.abandon(new DmaError('ENODEV', 'gone', { remedy: 'none' })));
    expect(pool.stats().active).toBe(kept.length + held.length);
    expect(
      codes([() => pool.alloc(), () => pool.allocMany([undefined]), () => pool.allocIndices([0])]),
    ).toEqual(['ENODEV', 'ENODEV', 'ENODEV']);
    pool.freeMany([...kept, ...held]);
    pool.destroy();
  });
});

describe.each(['allocMany', 'allocIndices'])(
  'an array of %s that frees what it is given, and throws',
  (way) => {
    it.each(PLACES)('at place %i leaves each block there once', (place) => {
      const given: DmaPoolBlock[] = [];
      const more: DmaPoolBlock[] = [];
      const into = new Proxy(new Array<number & DmaPoolBlock>(COUNT), {
        set(_target, key, value) {
          given.push(way === 'allocMany' ? value : pool.block(value));
          if (key !== String(place)) return true;
          for (const block of given) codes([() => pool.free(block)]);
          more.push(pool.alloc()!);
          throw new RangeError('of the program');
        },
      });
      const kept = batchOf(4);
      pool.free(pool.alloc()!);
      expect(codes([() => (way === 'allocMany' ? pool.allocMany(into) : pool.allocIndices(into))])).toEqual([
        'EINVAL',
      ]);
      expectWhole([...kept, ...more]);
    });
  },
);

describe('a poisoned pool whose arrays tell another thing each time they are read', () => {
  /** Reads as `first` once, and as `later` from then on. */
  function changing<T>(first: readonly T[], later: readonly T[]): T[] {
    const read = new Set<string | symbol>();
    return new Proxy([...first], {
      get(target, key, receiver) {
        if (typeof key === 'symbol' || !/^\d+$/.test(key)) return Reflect.get(target, key, receiver);
        const known = read.has(key);
        read.add(key);
        return (known ? later : first)[Number(key)];
      },
    });
  }

  /** Takes what is written, and always reads as `other`. */
  function telling<T>(array: T[], other: T): T[] {
    return new Proxy(array, {
      get: (target, key) => (/^\d+$/.test(String(key)) ? other : Reflect.get(target, key)),
    });
  }

  beforeEach(() => {
    pool = dma.createPool('poisoned', { size: 64, blocks: BLOCKS, grow: false, poison: true });
  });

  it('poisons the blocks that it freed, and no others', () => {
    for (const way of ['freeMany', 'freeIndices']) {
      const [kept, freed] = [batchOf(COUNT), batchOf(COUNT)];
      for (const { bytes } of kept) bytes.fill(1);
      if (way === 'freeMany') pool.freeMany(changing(freed, kept));
      else {
        const indices = [freed, kept].map((blocks) => blocks.map(({ index }) => index));
        pool.freeIndices(changing(indices[0]!, indices[1]!));
      }
      for (const { bytes } of kept) expect(bytes.every((byte) => byte === 1)).toBe(true);
      expectPoisoned(kept);
    }
  });

  it('examines the blocks that it allocated, and no others', () => {
    const kept = batchOf(COUNT);
    for (const { bytes } of kept) bytes.fill(1);
    const blocks = new Array<DmaPoolBlock>(COUNT);
    const indices = new Array<number>(COUNT).fill(0);
    expect(pool.allocMany(telling(blocks, kept[0]!))).toBe(true);
    expect(pool.allocIndices(telling(indices, kept[0]!.index))).toBe(true);
    expect(kept[0]!.bytes[0]).toBe(1);
    expectPoisoned([...kept, ...blocks, ...indices.map((index) => pool.block(index))]);
  });

  /** Frees `held`, and allocates every block: none has another content than a free one. */
  function expectPoisoned(held: readonly DmaPoolBlock[]): void {
    expect(pool.stats().active).toBe(held.length);
    pool.freeMany(held);
    pool.freeMany(batchOf(BLOCKS));
  }
});
