/** Memory in several pieces for the CPU and one for the device: a source that has no large ones. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DmaDevice } from '../../lib/dma/device.ts';
import { DMA_ATTR } from '../../lib/dma/words/attributes.ts';
import { DmaError } from '../../lib/errors.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import type { Coherence } from '../../lib/memory/source.ts';
import { SimulatedCache } from '../../lib/sim/cache.ts';
import { expectCode } from './sim-fixture.ts';
import { PAGE, pattern } from './streaming-fixture.ts';

/** As memory that is fragmented: nothing longer than `longest`. */
class Fragmented extends HeapMemory {
  longest = 4 * PAGE;
  /** Calls of `allocate` so far. */
  calls = 0;

  override allocate(size: number, coherence?: Coherence): ArrayBuffer {
    this.calls++;
    if (size > this.longest) throw new DmaError('ENOMEM', `no ${size} bytes in one piece`);
    return super.allocate(size, coherence);
  }
}

let memory: Fragmented;
let space: SimulatedAddressSpace;
let dma: DmaDevice;

function open(coherent: boolean, mappingLimit = 1000, limit = 2 ** 30): void {
  memory = new Fragmented({ limit });
  const coherenceOf = (buffer: ArrayBufferLike) => memory.coherenceOf(buffer);
  const cache = coherent ? undefined : new SimulatedCache({ coherenceOf, pageOffset: () => 0 });
  space = new SimulatedAddressSpace({
    mappingLimit,
    ...(cache !== undefined && {
      deviceView: (buffer, offset, size) => cache.deviceView(buffer, offset, size),
    }),
  });
  dma = new DmaDevice({ name: 'test', memory, addressSpace: space, cache });
}

beforeEach(() => open(true));
afterEach(() => dma.close());

const lengths = (pieces: readonly Uint8Array[]): number[] => pieces.map(({ length }) => length);
function deviceReads(address: bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  space.read(address, bytes);
  return bytes;
}

describe('noncontiguous memory', () => {
  it('is never in more than 64 pieces', () => {
    memory.longest = PAGE;
    expectCode('ENOMEM', () => dma.allocNoncontiguous(100 * PAGE, 'bidirectional'));
    expect(memory.used).toBe(0);
    memory.longest = 2 * PAGE;
    const buffer = dma.allocNoncontiguous(100 * PAGE, 'bidirectional');
    expect(lengths(buffer.pieces)).toEqual(new Array(50).fill(2 * PAGE));
    buffer.free();
    memory.longest = PAGE;
    expect(dma.allocNoncontiguous(64 * PAGE, 'bidirectional').pieces.length).toBe(64);
  });

  it('is one piece where there is one', () => {
    const buffer = dma.allocNoncontiguous(3 * PAGE + 5, 'from-device');
    expect(lengths(buffer.pieces)).toEqual([3 * PAGE + 5]);
    expect(buffer.bytes).toBe(buffer.pieces[0]);
    expect([buffer.size, buffer.direction, space.stats.mappings]).toEqual([3 * PAGE + 5, 'from-device', 1]);
    expect(dma.addressOf(buffer.bytes)).toBe(buffer.dmaAddress);
  });

  it('is as few pieces as there are, side by side for the device', () => {
    const size = 13 * PAGE + 100;
    const buffer = dma.allocNoncontiguous(size, 'bidirectional');
    expect(lengths(buffer.pieces)).toEqual([4 * PAGE, 4 * PAGE, 4 * PAGE, PAGE + 100]);
    expectCode('EOPNOTSUPP', () => buffer.bytes);
    expect(() => buffer.bytes).toThrow(/4 pieces/);
    let start = 0;
    for (const piece of buffer.pieces) {
      expect(piece.every((byte) => byte === 0)).toBe(true);
      expect(dma.addressOf(piece)).toBe(buffer.dmaAddress + BigInt(start));
      piece.set(pattern(size).subarray(start, start + piece.length));
      start += piece.length;
    }
    expect(deviceReads(buffer.dmaAddress, size)).toEqual(pattern(size));
    space.write(buffer.dmaAddress, pattern(size, 9));
    expect(Buffer.concat(buffer.pieces)).toEqual(Buffer.from(pattern(size, 9)));
    expect(space.faults.list).toEqual([]);
    expect([buffer.low, buffer.high]).toEqual([Number(buffer.dmaAddress), 0]);
    const mapping = dma.mapSingle(buffer.pieces[2]!, 'from-device');
    expect([mapping.way, mapping.dmaAddress]).toEqual(['arithmetic', buffer.dmaAddress + BigInt(8 * PAGE)]);
  });

  it('halves what it asks for, down to a page or a 64th', () => {
    memory.longest = PAGE;
    expect(lengths(dma.allocNoncontiguous(3 * PAGE + 1, 'to-device').pieces)).toEqual([PAGE, PAGE, PAGE, 1]);
    memory.longest = 3 * PAGE;
    expect(lengths(dma.allocNoncontiguous(9 * PAGE, 'to-device').pieces)).toEqual([
      ...[3 * PAGE, 3 * PAGE, 3 * PAGE],
    ]);
    memory.longest = 2 * PAGE;
    expect(dma.allocNoncontiguous(128 * PAGE, 'to-device').pieces.length).toBe(64);
    expectCode('ENOMEM', () => dma.allocNoncontiguous(256 * PAGE, 'to-device'));
  });

  it('is all there or not at all', () => {
    const refused = (code: 'ENOMEM' | 'ENOSPC', size: number): void => {
      expectCode(code, () => dma.allocNoncontiguous(size, 'to-device'));
      expect([dma.live, space.stats.mappings]).toEqual([[], 0]);
    };
    dma.close();
    open(true, 3);
    refused('ENOSPC', 16 * PAGE);
    dma.close();
    open(true, 1000, 10 * PAGE);
    refused('ENOMEM', 11 * PAGE);
    dma.allocNoncontiguous(10 * PAGE, 'to-device').free();
    memory.longest = 100;
    refused('ENOMEM', PAGE);
    refused('ENOMEM', 2 ** 40);
    const { calls } = memory;
    memory.close();
    memory.longest = 4 * PAGE;
    expectCode('ENODEV', () => dma.allocNoncontiguous(4 * PAGE, 'to-device'));
    expect(memory.calls - calls).toBe(1);
  });

  it('is given back whole', () => {
    const buffer = dma.allocNoncontiguous(10 * PAGE, 'bidirectional');
    const { pieces, dmaAddress } = buffer;
    buffer.free();
    expect(lengths(pieces)).toEqual([0, 0, 0, 0]);
    expect([buffer.freed, space.stats.mappings, dma.live]).toEqual([true, 0, []]);
    for (const use of [
      () => buffer.bytes,
      () => buffer.dmaAddress,
      () => buffer.low,
      () => buffer.high,
      () => buffer.syncForCpu(),
      () => buffer.syncForDevice(),
      () => buffer.free(),
    ]) {
      expectCode('EINVAL', use);
    }
    buffer[Symbol.dispose]();
    using again = dma.allocNoncontiguous(10 * PAGE, 'bidirectional');
    expect(again.dmaAddress).toBe(dmaAddress);
  });

  it('dies with its device', () => {
    const buffer = dma.allocNoncontiguous(10 * PAGE, 'bidirectional');
    dma.close();
    expect([buffer.freed, ...lengths(buffer.pieces)]).toEqual([true, 0, 0, 0, 0]);
    expectCode('EINVAL', () => buffer.free());
    expectCode('ENODEV', () => dma.allocNoncontiguous(1, 'to-device'));
  });

  it('takes one attribute, a direction and a size', () => {
    dma.allocNoncontiguous(1, 'to-device', DMA_ATTR.ALLOC_SINGLE_PAGES).free();
    for (const attributes of [DMA_ATTR.NO_WARN, DMA_ATTR.ALLOC_SINGLE_PAGES | DMA_ATTR.MMIO, 1, -1, 0.5]) {
      expectCode('EINVAL', () => dma.allocNoncontiguous(1, 'to-device', attributes));
    }
    expectCode('EINVAL', () => dma.allocNoncontiguous(1, 'none' as never));
    for (const size of [0, -1, 1.5, Number.NaN]) {
      expectCode('EINVAL', () => dma.allocNoncontiguous(size, 'to-device'));
      expectCode('EINVAL', () => dma.allocPages(size, 'to-device'));
    }
    expect(dma.live).toEqual([]);
  });
});

describe('syncs across pieces', () => {
  const size = 9 * PAGE;
  beforeEach(() => open(false));

  /** What of `actual` is `expected`, as one number a page. */
  const samePages = (actual: Uint8Array, expected: Uint8Array): number[] =>
    Array.from({ length: 9 }, (_, i) => i).filter(
      (page) =>
        Buffer.compare(
          actual.subarray(page * PAGE, (page + 1) * PAGE),
          expected.subarray(page * PAGE, (page + 1) * PAGE),
        ) === 0,
    );

  it.each([
    [0, 9, [0, 1, 2, 3, 4, 5, 6, 7, 8]],
    [3, 2, [3, 4]],
    [4, 4, [4, 5, 6, 7]],
    [2, 7, [2, 3, 4, 5, 6, 7, 8]],
    [8, 1, [8]],
  ])('hand over pages from %i on, %i of them, and no others', (first, count, pages) => {
    const buffer = dma.allocNoncontiguous(size, 'bidirectional');
    let start = 0;
    for (const piece of buffer.pieces) {
      piece.set(pattern(size).subarray(start, start + piece.length));
      start += piece.length;
    }
    buffer.syncForDevice(first * PAGE, count * PAGE);
    expect(samePages(deviceReads(buffer.dmaAddress, size), pattern(size))).toEqual(pages);
    buffer.syncForDevice();
    space.write(buffer.dmaAddress, pattern(size, 2));
    buffer.syncForCpu(first * PAGE, count * PAGE);
    expect(samePages(Buffer.concat(buffer.pieces), pattern(size, 2))).toEqual(pages);
    buffer.syncForCpu();
    expect(samePages(Buffer.concat(buffer.pieces), pattern(size, 2)).length).toBe(9);
  });

  it.each([8, 3, 0])('without a size hand over the rest, from page %i on', (first) => {
    const rest = [0, 1, 2, 3, 4, 5, 6, 7, 8].slice(first);
    const buffer = dma.allocNoncontiguous(size, 'bidirectional');
    let start = 0;
    for (const piece of buffer.pieces) {
      piece.set(pattern(size).subarray(start, start + piece.length));
      start += piece.length;
    }
    buffer.syncForDevice(first * PAGE);
    expect(samePages(deviceReads(buffer.dmaAddress, size), pattern(size))).toEqual(rest);
    buffer.syncForDevice();
    space.write(buffer.dmaAddress, pattern(size, 2));
    buffer.syncForCpu(first * PAGE);
    expect(samePages(Buffer.concat(buffer.pieces), pattern(size, 2))).toEqual(rest);
  });

  it('stay inside', () => {
    const buffer = dma.allocNoncontiguous(size, 'bidirectional');
    for (const [offset, length] of [
      [0, size + 1],
      [size, 1],
      [-1, 2],
      [size + 1, 0],
      [0.5, 1],
      [0, Number.NaN],
    ] as const) {
      expectCode('EINVAL', () => buffer.syncForCpu(offset, length));
      expectCode('EINVAL', () => buffer.syncForDevice(offset, length));
    }
  });
});
