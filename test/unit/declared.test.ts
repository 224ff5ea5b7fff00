/** Memory that was declared for a device: buffers of the driver's own, at addresses it names. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CoherentBuffer } from '../../lib/dma/buffers/coherent.ts';
import type { DmaDevice } from '../../lib/dma/device.ts';
import { dmaBitMask } from '../../lib/dma/words/mask.ts';
import type { DmaError } from '../../lib/errors.ts';
import { expectCode } from './sim-fixture.ts';
import { detach, PAGE, pattern, world } from './streaming-fixture.ts';

const BASE = 0x1234_5000n;
const SIZE = 8 * PAGE;

let dma: DmaDevice;
/** What is declared: in the middle of a larger buffer. */
let memory: Uint8Array<ArrayBuffer>;

beforeEach(() => {
  ({ dma } = world());
  memory = new Uint8Array(new ArrayBuffer(SIZE + 3 * PAGE), 64, SIZE + PAGE).fill(0xee);
});
afterEach(() => dma.close());

const pagesOf = (buffers: readonly CoherentBuffer[]): number[] =>
  buffers.map(({ dmaAddress }) => Number(dmaAddress - BASE) / PAGE);
const allocate = (...pages: number[]): CoherentBuffer[] =>
  pages.map((count) => dma.allocCoherent(count * PAGE));

function messageOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as DmaError).message;
  }
  return expect.unreachable('nothing was thrown');
}

describe('declaring memory', () => {
  it('tells what there is', () => {
    expect(dma.declared).toBeUndefined();
    dma.declareCoherentMemory(memory, BASE, SIZE);
    expect(dma.declared).toMatchObject({
      ...{ deviceAddress: BASE, size: SIZE, free: SIZE, kind: 'memory', exclusive: true, live: [] },
    });
    const [buffer] = allocate(3);
    expect(dma.declared!.live).toEqual([{ dmaAddress: BASE, size: 3 * PAGE }]);
    expect(dma.declared!.free).toBe(4 * PAGE);
    buffer!.free();
    expect([dma.declared!.live, dma.declared!.free]).toEqual([[], SIZE]);
  });

  it('takes buffers, views and anything that holds enough', () => {
    for (const some of [
      new ArrayBuffer(SIZE),
      new DataView(new ArrayBuffer(SIZE + 1)),
      new BigUint64Array(SIZE),
    ]) {
      dma.declareCoherentMemory(some, BASE, SIZE);
      dma.allocCoherent(SIZE).bytes.fill(7);
      expect(new Uint8Array(some instanceof ArrayBuffer ? some : some.buffer).subarray(0, SIZE)).toEqual(
        new Uint8Array(SIZE).fill(7),
      );
      dma.releaseDeclaredMemory();
    }
  });

  it('refuses a second region, and keeps the first', () => {
    dma.declareCoherentMemory(memory, BASE, SIZE);
    expectCode('EBUSY', () => dma.declareCoherentMemory(new ArrayBuffer(PAGE), 0n, PAGE));
    expect(dma.declared!.deviceAddress).toBe(BASE);
    dma.releaseDeclaredMemory();
    dma.declareCoherentMemory(new ArrayBuffer(PAGE), 0n, PAGE);
    expect(dma.allocCoherent(1).dmaAddress).toBe(0n);
  });

  it.each([
    ['no size', () => dma.declareCoherentMemory(memory, BASE, 0)],
    ['part of a page', () => dma.declareCoherentMemory(memory, BASE, PAGE + 1)],
    ['more than there is', () => dma.declareCoherentMemory(memory, BASE, SIZE + 2 * PAGE)],
    ['an address inside a page', () => dma.declareCoherentMemory(memory, BASE + 1n, SIZE)],
    ['an address below 0', () => dma.declareCoherentMemory(memory, -BASE, SIZE)],
    ['a number for an address', () => dma.declareCoherentMemory(memory, 0x1000 as never, SIZE)],
    ['addresses beyond 2^53', () => dma.declareCoherentMemory(memory, 2n ** 53n - BigInt(PAGE), SIZE)],
    ['misaligned memory', () => dma.declareCoherentMemory(memory.subarray(4), BASE, SIZE)],
    [
      'shared memory',
      () => dma.declareCoherentMemory(new Uint8Array(new SharedArrayBuffer(SIZE)), BASE, SIZE),
    ],
    ['no memory', () => dma.declareCoherentMemory(undefined as never, BASE, SIZE)],
    ['null', () => dma.declareCoherentMemory(null as never, BASE, SIZE)],
    ['no BAR', () => dma.declareCoherentMemory({ bar: null as never, offset: 0 }, BASE, SIZE)],
    ['a number for memory', () => dma.declareCoherentMemory(5 as never, BASE, SIZE)],
  ])('refuses %s', (_what, declare) => {
    expectCode('EINVAL', declare);
    expect(dma.declared).toBeUndefined();
  });

  it('refuses detached memory, and memory that only syncs make coherent', () => {
    const gone = new Uint8Array(SIZE);
    detach(gone.buffer);
    expectCode('EINVAL', () => dma.declareCoherentMemory(gone, BASE, SIZE));
    expectCode('EINVAL', () => dma.declareCoherentMemory(gone.buffer, BASE, SIZE));
    const incoherent = world({ cache: { lineSize: 64, syncForCpu: () => {}, syncForDevice: () => {} } }).dma;
    const cached = incoherent.allocNoncoherent(SIZE, 'bidirectional');
    expectCode('EINVAL', () => incoherent.declareCoherentMemory(cached.bytes, BASE, SIZE));
    incoherent.declareCoherentMemory(incoherent.allocCoherent(SIZE).bytes, BASE, SIZE);
    incoherent.close();
  });

  it('needs a region for everything else, and an open device', () => {
    expectCode('EINVAL', () => dma.releaseDeclaredMemory());
    expectCode('EINVAL', () => dma.markDeclaredMemoryOccupied(BASE, PAGE));
    expectCode('EINVAL', () => dma.markDeclaredIoOccupied(BASE, PAGE));
    expectCode('EINVAL', () => dma.allocCoherentIo(PAGE));
    dma.close();
    expectCode('ENODEV', () => dma.declareCoherentMemory(memory, BASE, SIZE));
    expectCode('ENODEV', () => dma.releaseDeclaredMemory());
    expectCode('ENODEV', () => dma.markDeclaredMemoryOccupied(BASE, PAGE));
    expectCode('ENODEV', () => dma.allocCoherentIo(PAGE));
  });
});

describe('coherent memory that was declared', () => {
  beforeEach(() => dma.declareCoherentMemory(memory, BASE, SIZE));

  it('is taken first fit in powers of two of pages', () => {
    expect(pagesOf(allocate(1, 2, 4, 1))).toEqual([0, 2, 4, 1]);
    expectCode('ENOMEM', () => dma.allocCoherent(1));
  });

  it('is rounded up to a power of two of pages, and zeroed', () => {
    const [first, second] = [dma.allocCoherent(2 * PAGE + 1), dma.allocCoherent(100)];
    expect(pagesOf([first!, second!])).toEqual([0, 4]);
    expect(first!.bytes).toEqual(new Uint8Array(2 * PAGE + 1));
    expect(second!.bytes).toEqual(new Uint8Array(100));
    // The kernel zeroes what was asked for, no more.
    expect(memory[4 * PAGE + 100]).toBe(0xee);
    expect(memory[SIZE]).toBe(0xee);
  });

  it('is part of the memory, and knows its addresses', () => {
    dma.allocCoherent(PAGE);
    const buffer = dma.allocCoherent(PAGE);
    buffer.bytes.set(pattern(PAGE));
    expect(memory.subarray(PAGE, 2 * PAGE)).toEqual(pattern(PAGE));
    expect([buffer.dmaAddress, buffer.low, buffer.high]).toEqual([
      BASE + BigInt(PAGE),
      Number(BASE) + PAGE,
      0,
    ]);
    expect(buffer.buffer).toBe(memory.buffer);
    expect(buffer.bytes.byteOffset).toBe(64 + PAGE);
    expect(dma.addressOf(buffer.bytes)).toBe(buffer.dmaAddress);
    const words = new DataView(memory.buffer, 64 + PAGE);
    expect(buffer.load32(4)).toBe(words.getUint32(4, true));
    expect(buffer.load64(8)).toBe(words.getBigUint64(8, true));
    expectCode('EINVAL', () => buffer.load32(PAGE));
  });

  it('is mapped by arithmetic', () => {
    const buffer = dma.allocCoherent(PAGE);
    const mapping = dma.mapSingle(buffer.bytes, 'bidirectional');
    expect([mapping.way, mapping.dmaAddress]).toEqual(['arithmetic', BASE]);
    mapping.unmap();
    const list = dma.mapSg([buffer.bytes, dma.allocCoherent(PAGE).bytes], 'to-device');
    expect(list.segments.map(({ dmaAddress, length }) => [dmaAddress, length])).toEqual([[BASE, 2 * PAGE]]);
    list.unmap();
    // Only what was handed out has an address: another view is the driver's own memory.
    expectCode('EINVAL', () => dma.addressOf(new Uint8Array(buffer.buffer, buffer.bytes.byteOffset, 4)));
    expect(dma.mapSingle(buffer.bytes.subarray(1), 'to-device').way).toBe('bounced');
  });

  it('can be above every mask', () => {
    dma.releaseDeclaredMemory();
    dma.setMaskAndCoherent(dmaBitMask(28));
    dma.declareCoherentMemory(memory, 2n ** 40n + BASE, SIZE);
    const buffer = dma.allocCoherent(PAGE);
    expect([buffer.low, buffer.high]).toEqual([Number(BASE), 256]);
  });

  it('is free again after free, and the handle is dead', () => {
    const [first, second] = allocate(4, 4);
    const { bytes } = first!;
    first!.free();
    expect(first!.bytes.length).toBe(0);
    expectCode('EINVAL', () => first!.dmaAddress);
    expectCode('EINVAL', () => first!.load32(0));
    expectCode('EINVAL', () => first!.free());
    expectCode('EINVAL', () => dma.addressOf(bytes));
    expect(bytes.length).toBe(4 * PAGE);
    bytes.fill(5);
    const [again] = allocate(4);
    expect(pagesOf([again!])).toEqual([0]);
    expect(again!.bytes.every((byte) => byte === 0)).toBe(true);
    bytes[3] = 9;
    expect(again!.bytes[3]).toBe(9);
    again!.free();
    second!.free();
    expect(pagesOf(allocate(8))).toEqual([0]);
    expect(dma.live.length).toBe(1);
  });

  it('does not take what is ordinary when it is full, unless it was declared so', () => {
    expectCode('ENOMEM', () => dma.allocCoherent(SIZE + 1));
    allocate(8);
    expectCode('ENOMEM', () => dma.allocCoherent(1));
    expect(messageOf(() => dma.allocCoherent(2 * PAGE))).toMatch(/no 2 pages .* exclusive: false/);
    dma.releaseDeclaredMemory();
    dma.declareCoherentMemory(memory, BASE, SIZE, { exclusive: false });
    const [declared] = allocate(8);
    const [ordinary] = allocate(8);
    expect(declared!.buffer).toBe(memory.buffer);
    expect(ordinary!.buffer.byteLength).toBe(SIZE);
    const { bytes } = ordinary!;
    ordinary!.free();
    expect(bytes.length).toBe(0);
  });

  it('is refused once the memory itself is gone', () => {
    detach(memory.buffer);
    expectCode('EFAULT', () => dma.allocCoherent(PAGE));
    expectCode('EFAULT', () => dma.markDeclaredMemoryOccupied(BASE, PAGE));
    expect([dma.declared!.free, dma.live]).toEqual([SIZE, []]);
  });

  it('comes from no other call', () => {
    for (const { dmaAddress } of [
      dma.allocNoncoherent(PAGE, 'bidirectional'),
      dma.allocPages(PAGE, 'bidirectional'),
      dma.allocNoncontiguous(PAGE, 'bidirectional'),
    ]) {
      expect(dmaAddress < BASE || dmaAddress >= BASE + BigInt(SIZE)).toBe(true);
    }
    expect(dma.declared!.free).toBe(SIZE);
    expectCode('EOPNOTSUPP', () => dma.allocCoherentIo(PAGE));
    expectCode('EOPNOTSUPP', () => dma.markDeclaredIoOccupied(BASE, PAGE));
  });

  it('is over when the device is closed', () => {
    const [buffer] = allocate(2);
    const { bytes } = buffer!;
    dma.close();
    expect([buffer!.freed, buffer!.bytes.length, bytes.length]).toEqual([true, 0, 2 * PAGE]);
    expectCode('EINVAL', () => buffer!.free());
    expectCode('EINVAL', () => dma.addressOf(bytes));
    expect(dma.declared).toBeUndefined();
  });
});

describe('memory marked occupied', () => {
  beforeEach(() => dma.declareCoherentMemory(memory, BASE, SIZE));
  const at = (page: number, offset = 0): bigint => BASE + BigInt(page * PAGE + offset);

  it('keeps its bytes and its pages until it is freed', () => {
    memory.set(pattern(PAGE), 3 * PAGE);
    const occupied = dma.markDeclaredMemoryOccupied(at(3), PAGE);
    expect([occupied.dmaAddress, occupied.size]).toEqual([at(3), PAGE]);
    expect(occupied.bytes).toEqual(pattern(PAGE));
    expect(pagesOf(allocate(2, 1, 4))).toEqual([0, 2, 4]);
    expectCode('ENOMEM', () => dma.allocCoherent(1));
    occupied.free();
    expect(pagesOf(allocate(1))).toEqual([3]);
  });

  it('starts with its first page, and has a power of two of pages from there on', () => {
    const occupied = dma.markDeclaredMemoryOccupied(at(1, 100), 2 * PAGE);
    expect([occupied.dmaAddress, occupied.size]).toEqual([at(1), 2 * PAGE + 100]);
    // Pages 1 to 4: three are needed.
    expect(pagesOf(allocate(1, 2, 1))).toEqual([0, 6, 5]);
    expectCode('ENOMEM', () => dma.allocCoherent(1));
  });

  it('is refused where something is, and when it does not fit', () => {
    const [taken] = allocate(1);
    expectCode('EBUSY', () => dma.markDeclaredMemoryOccupied(at(0), 1));
    taken!.free();
    const occupied = dma.markDeclaredMemoryOccupied(at(2), 2 * PAGE);
    for (const page of [1, 2, 3]) {
      expectCode('EBUSY', () => dma.markDeclaredMemoryOccupied(at(page), PAGE + 1));
    }
    // Three pages are four, and the fourth is not there.
    expectCode('EBUSY', () => dma.markDeclaredMemoryOccupied(at(5), 3 * PAGE));
    occupied.free();
    for (const [address, size] of [
      [at(8), 1],
      [at(7), PAGE + 1],
      [BASE - 1n, 1],
      [at(0), 0],
      [at(0), -1],
      [at(0), 0.5],
      [Number(BASE) as never, 1],
    ] as const) {
      expectCode('EINVAL', () => dma.markDeclaredMemoryOccupied(address, size));
    }
    expect([dma.declared!.free, dma.live]).toEqual([SIZE, []]);
  });
});

describe('releasing declared memory', () => {
  beforeEach(() => dma.declareCoherentMemory(memory, BASE, SIZE, { exclusive: false }));

  it('ends what was allocated from it, and nothing else', () => {
    const [declared] = allocate(8);
    const [ordinary] = allocate(1);
    const { bytes } = declared!;
    dma.releaseDeclaredMemory();
    expect([declared!.freed, declared!.bytes.length, ordinary!.freed]).toEqual([true, 0, false]);
    expectCode('EINVAL', () => declared!.dmaAddress);
    expectCode('EINVAL', () => declared!.free());
    expectCode('EINVAL', () => dma.addressOf(bytes));
    expect(dma.live).toEqual([ordinary]);
    ordinary!.free();
    expect(dma.allocCoherent(1).buffer.byteLength).toBe(1);
  });

  it('ends pools that have blocks there', () => {
    const pool = dma.createPool('declared', { size: 64 });
    const other = dma.createPool('empty', { size: 64 });
    const block = pool.alloc()!;
    dma.releaseDeclaredMemory();
    expectCode('EINVAL', () => block.bytes);
    expectCode('ENODEV', () => pool.alloc());
    expect(messageOf(() => pool.free(block))).toMatch(/released with its declared memory/);
    expect(dma.live).toEqual([other]);
    other.free(other.alloc()!);
    other.destroy();
  });

  it('gives back what such a pool has of ordinary memory, unless blocks are out', () => {
    const { dma: other, memory: ordinary } = world();
    for (const busy of [false, true]) {
      const before = ordinary.used;
      other.declareCoherentMemory(new ArrayBuffer(PAGE), BASE, PAGE, { exclusive: false });
      const pool = other.createPool('both', { size: PAGE });
      const [declared, block] = [pool.alloc()!, pool.alloc()!];
      const { bytes } = block;
      declared.free();
      if (!busy) block.free();
      other.releaseDeclaredMemory();
      expectCode('ENODEV', () => pool.alloc());
      expect([bytes.length, ordinary.used > before]).toEqual(busy ? [PAGE, true] : [0, false]);
    }
    other.close();
    expect(ordinary.used).toBe(0);
  });

  it('leaves a later region alone when a dead handle is freed', () => {
    const [first] = allocate(1);
    dma.releaseDeclaredMemory();
    dma.declareCoherentMemory(memory, BASE, SIZE);
    const [second] = allocate(1);
    expectCode('EINVAL', () => first!.free());
    expect(dma.declared!.live.length).toBe(1);
    expect(dma.addressOf(second!.bytes)).toBe(BASE);
  });
});

describe('a pool of declared memory', () => {
  beforeEach(() => dma.declareCoherentMemory(memory, BASE, SIZE));

  it('has its blocks there, and gives the memory back', () => {
    const pool = dma.createPool('declared', { size: 96, align: 32, boundary: 4096 });
    const blocks = Array.from({ length: 100 }, () => pool.zalloc()!);
    for (const [index, block] of blocks.entries()) {
      block.bytes.fill(index + 1);
      const offset = Number(block.dmaAddress - BASE);
      expect(block.low).toBe(Number(BASE) + offset);
      expect(memory[offset]).toBe(index + 1);
      expect(dma.addressOf(block.bytes)).toBe(block.dmaAddress);
    }
    expect(blocks[7]!.load32(4)).toBe(0x08080808);
    expect(blocks[7]!.load64(8)).toBe(0x0808080808080808n);
    expect(new Set(blocks.map(({ dmaAddress }) => dmaAddress)).size).toBe(100);
    const again = blocks[7]!;
    again.free();
    expect(pool.zalloc()).toBe(again);
    expect(again.bytes.every((byte) => byte === 0)).toBe(true);
    expect([blocks[6]!.bytes[95], blocks[8]!.bytes[0]]).toEqual([7, 9]);
    for (const block of blocks) block.free();
    pool.destroy();
    expect(dma.declared!.free).toBe(SIZE);
  });

  it('is refused where its blocks would not be aligned, or would cross their boundary', () => {
    // BASE is at a page, and at nothing more.
    for (const options of [{ align: 2 * PAGE }, { boundary: 2 * PAGE }, { boundary: 8 * PAGE }]) {
      const pool = dma.createPool('misplaced', { size: 2 * PAGE, ...options });
      expectCode('EINVAL', () => pool.alloc());
      expectCode('EINVAL', () => dma.createPool('misplaced', { size: 2 * PAGE, ...options, blocks: 1 }));
      pool.destroy();
      expect([dma.declared!.free, dma.live]).toEqual([SIZE, []]);
    }
    const pool = dma.createPool('anywhere', { size: 2 * PAGE });
    expect(pool.alloc()!.dmaAddress).toBe(BASE);
    pool.alloc();
    dma.releaseDeclaredMemory();
    dma.declareCoherentMemory(memory, 16n * BASE, SIZE);
    const aligned = dma.createPool('aligned', {
      size: 2 * PAGE,
      align: 2 * PAGE,
      boundary: 8 * PAGE,
      blocks: 4,
    });
    expect([dma.declared!.free, aligned.stats().total]).toEqual([0, 4]);
  });

  it('is exhausted when the memory is, and not before', () => {
    dma.setCoherentMask(dmaBitMask(24));
    const pool = dma.createPool('declared', { size: PAGE });
    const blocks = Array.from({ length: 8 }, () => pool.alloc()!);
    expect(new Set(blocks.map(({ dmaAddress }) => dmaAddress)).size).toBe(8);
    expect(pool.alloc()).toBeNull();
    expectCode('ENOMEM', () => dma.createPool('more', { size: 8, blocks: 1 }));
  });

  it('has the high half of addresses right where 4 GiB are crossed', () => {
    dma.releaseDeclaredMemory();
    // The pool's second piece of memory is pages 2 and 3.
    dma.declareCoherentMemory(memory, 2n ** 32n - 3n * BigInt(PAGE), SIZE);
    const pool = dma.createPool('declared', { size: PAGE, blocks: 7 });
    const blocks = Array.from({ length: 7 }, () => pool.alloc()!);
    for (const { dmaAddress, low, high } of blocks) {
      expect((BigInt(high) << 32n) | BigInt(low)).toBe(dmaAddress);
    }
    expect(new Set(blocks.map(({ high }) => high))).toEqual(new Set([0, 1]));
  });
});

describe('managed memory', () => {
  it('says so', () => {
    const flags = [
      dma.allocCoherent(8).managed,
      dma.allocCoherent(8, { managed: true }).managed,
      dma.createPool('a', { size: 8 }).managed,
      dma.createPool('b', { size: 8, managed: true }).managed,
    ];
    expect(flags).toEqual([false, true, false, true]);
  });
});
