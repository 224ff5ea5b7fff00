import { deepStrictEqual } from 'node:assert/strict';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { OwnMemory, type OwnRegion } from '../../lib/dma/operations/own-memory.ts';
import { expectCode } from './sim-fixture.ts';
import { detach, world } from './streaming-fixture.ts';

const GRANULE = 4096;

function regionAt(own: OwnMemory, address: number, pages = 1): OwnRegion {
  const size = pages * GRANULE;
  return own.add({ buffer: new ArrayBuffer(size), address, size, span: size, coherent: true });
}

describe('addresses of own memory', () => {
  it('are those of the buffer, for every kind of view of it', () => {
    const { dma } = world();
    const ring = dma.allocCoherent(8192);
    const at = ring.dmaAddress;
    expect(dma.addressOf(ring.bytes)).toBe(at);
    expect(dma.addressOf(ring.bytes.subarray(100, 200))).toBe(at + 100n);
    expect(dma.addressOf(new Uint32Array(ring.buffer, 64, 2))).toBe(at + 64n);
    expect(dma.addressOf(new DataView(ring.buffer, 3))).toBe(at + 3n);
    expect(dma.addressOf(Buffer.from(ring.buffer, 17, 5))).toBe(at + 17n);
  });

  it('belong to one device', () => {
    const { dma } = world();
    const other = world().dma;
    const ring = dma.allocCoherent(64);
    expectCode('EINVAL', () => other.addressOf(ring.bytes));
    expectCode('EINVAL', () => other.addressOf(ring.bytes.subarray(1)));
  });

  it('end with the memory', () => {
    const { dma } = world();
    const ring = dma.allocCoherent(64);
    const part = ring.bytes.subarray(8);
    ring.free();
    expectCode('EINVAL', () => dma.addressOf(ring.bytes));
    expectCode('EINVAL', () => dma.addressOf(part));
    const stolen = dma.allocCoherent(64);
    const { bytes } = stolen;
    const asked = new DataView(stolen.buffer);
    detach(stolen.buffer);
    expectCode('EINVAL', () => dma.addressOf(bytes));
    expectCode('EINVAL', () => dma.addressOf(asked));
    expectCode('EINVAL', () => stolen.load32(0));
    expectCode('EINVAL', () => stolen.load64(0));
    const cached = new DataView(dma.allocNoncoherent(64, 'to-device').buffer);
    detach(cached.buffer as ArrayBuffer);
    expectCode('EINVAL', () => dma.cacheSync(cached, 'to-device'));
  });

  it.each([
    ['foreign memory', new Uint8Array(8)],
    ['no view', undefined],
    ['a buffer', new ArrayBuffer(8)],
  ])('are refused for %s', (_, view) => {
    expectCode('EINVAL', () => world().dma.addressOf(view as unknown as Uint8Array));
  });

  it('leave no visible trace on the view, and copying the trace is no use', () => {
    const { dma } = world();
    const { bytes } = dma.allocCoherent(4);
    expect(inspect(bytes)).toBe(inspect(new Uint8Array(4)));
    expect(Object.keys(bytes)).toEqual(['0', '1', '2', '3']);
    deepStrictEqual(bytes, new Uint8Array(4));
    const forged = Object.defineProperties(new Uint8Array(4), Object.getOwnPropertyDescriptors(bytes));
    expect(Object.getOwnPropertySymbols(forged)).toHaveLength(1);
    expectCode('EINVAL', () => dma.addressOf(forged));
  });
});

describe('the page table of own memory', () => {
  it('finds the region of every address in it and of none beside it', () => {
    const own = new OwnMemory(GRANULE);
    const starts = [0x1000, 0x3f_f000, 0xffff_f000, 2 ** 32, 2 ** 40 - GRANULE, 2 ** 52];
    const regions = starts.map((start) => regionAt(own, start));
    starts.forEach((start, i) => {
      expect(own.regionAt(start)).toBe(regions[i]);
      expect(own.regionAt(start + GRANULE - 1)).toBe(regions[i]);
    });
    expect(own.regionAt(0)).toBeUndefined();
    expect(own.regionAt(0x2000)).toBeUndefined();
    expect(own.regionAt(2 ** 32 + GRANULE)).toBeUndefined();
    expect(own.regionAt(2 ** 40)).toBeUndefined();
  });

  it('takes regions across leaves and across 4 GiB', () => {
    const own = new OwnMemory(GRANULE);
    const long = regionAt(own, 2 ** 32 - 1500 * GRANULE, 3000);
    for (const page of [0, 475, 476, 1499, 1500, 1501, 2999]) {
      expect(own.regionAt(2 ** 32 + (page - 1500) * GRANULE)).toBe(long);
    }
    expect(own.regionAt(2 ** 32 + 1500 * GRANULE)).toBeUndefined();
    own.remove(long);
    for (const page of [0, 1499, 1500, 2999]) {
      expect(own.regionAt(2 ** 32 + (page - 1500) * GRANULE)).toBeUndefined();
    }
  });

  it('uses the numbers of removed regions again', () => {
    const own = new OwnMemory(GRANULE);
    const first = regionAt(own, GRANULE);
    const second = regionAt(own, 2 * GRANULE);
    own.remove(first);
    const third = regionAt(own, 3 * GRANULE);
    expect(own.regionAt(GRANULE)).toBeUndefined();
    expect(own.regionAt(2 * GRANULE)).toBe(second);
    expect(own.regionAt(3 * GRANULE)).toBe(third);
  });
});
