import { randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { AddressIndex, distanceTo } from '../../lib/debug/address-index.ts';
import { ByteRanges } from '../../lib/debug/byte-ranges.ts';
import { Random } from '../random.ts';

const SIZE = 200;

describe('ranges of bytes', () => {
  it('are a set of bytes, whatever is added and removed', () => {
    const seed = randomInt(2 ** 31);
    const random = new Random(seed);
    const below = (limit: number): number => random.below(limit);
    const ranges = new ByteRanges();
    const expected = new Array<boolean>(SIZE).fill(false);
    for (let step = 0; step < 3000; step++) {
      const start = below(SIZE);
      const end = start + below(SIZE - start + 1);
      const adds = below(2) === 0;
      // Often none, and one range after that: what most mappings have.
      if (below(4) === 0) {
        ranges.remove(0, SIZE);
        expected.fill(false);
      }
      if (adds) ranges.add(start, end);
      else ranges.remove(start, end);
      expected.fill(adds, start, end);
      const where = `seed ${seed}, step ${step}`;
      const [from, to] = [below(SIZE / 2), SIZE / 2 + below(SIZE / 2)];
      const inside: number[] = [];
      const outside: number[] = [];
      const list = (bytes: number[]) => (first: number, last: number) => {
        for (let at = first; at < last; at++) bytes.push(at);
      };
      ranges.eachIn(from, to, list(inside));
      ranges.eachGap(from, to, list(outside));
      const wanted = Array.from({ length: to - from }, (_, i) => from + i);
      expect(inside, where).toEqual(wanted.filter((at) => expected[at]));
      expect(outside, where).toEqual(wanted.filter((at) => !expected[at]));
      expect(ranges.empty, where).toBe(!expected.includes(true));
      expect(ranges.meets(from, to), where).toBe(inside.length > 0);
      expect(ranges.meets(from, from), where).toBe(false);
    }
    ranges.clear();
    expect(ranges.empty).toBe(true);
  });

  it('touch without a seam', () => {
    const ranges = new ByteRanges();
    ranges.add(10, 20);
    ranges.add(20, 30);
    ranges.add(0, 10);
    expect(ranges.firstIn(5, 100)).toEqual({ start: 5, end: 30 });
    ranges.remove(0, 30);
    expect(ranges.firstIn(0, 100)).toBeUndefined();
  });
});

interface Range {
  address: number;
  size: number;
  place: number;
}

/** Mostly small; some beyond everything that has a class of its own. */
function sizeOf(below: (limit: number) => number): number {
  return below(50) === 0 ? 2 ** (30 + below(20)) : 1 + below(2 ** (1 + below(18)));
}

describe('an index of addresses', () => {
  it('finds all that touch a range, of any size', () => {
    const seed = randomInt(2 ** 31);
    const random = new Random(seed);
    const below = (limit: number): number => random.below(limit);
    const index = new AddressIndex<Range>();
    const live: Range[] = [];
    for (let step = 0; step < 2000; step++) {
      if (live.length > 0 && below(3) === 0) {
        const [gone] = live.splice(below(live.length), 1);
        index.remove(gone!);
        index.remove(gone!);
      } else {
        const one = { address: 2 ** 33 + below(2 ** 20), size: sizeOf(below), place: -1 };
        live.push(one);
        index.add(one);
      }
      const address = 2 ** (33 + (below(10) === 0 ? below(17) : 0)) + below(2 ** 20);
      const size = below(20) === 0 ? 2 ** below(45) : 1 + below(5000);
      const found = index.touching(address, size);
      const wanted = live.filter((one) => one.address < address + size && one.address + one.size > address);
      expect(new Set(found), `seed ${seed}, step ${step}`).toEqual(new Set(wanted));
      expect(found.length).toBe(wanted.length);
      const nearest = index.nearest(address);
      const least = Math.min(...live.map((one) => distanceTo(one, address)));
      if (live.length > 0) expect(distanceTo(nearest!, address)).toBe(least);
    }
    expect([...index.all].length).toBe(live.length);
    index.clear();
    expect(index.nearest(0)).toBeUndefined();
    expect(index.touching(2 ** 33, 2 ** 20)).toEqual([]);
    const fresh = { address: 2 ** 33, size: 64, place: -1 };
    index.add(fresh);
    for (const one of live) index.remove(one);
    expect(index.touching(2 ** 33, 1)).toEqual([fresh]);
  });

  it('measures how far away an address is', () => {
    expect(distanceTo({ address: 100, size: 10 }, 90)).toBe(10);
    expect(distanceTo({ address: 100, size: 10 }, 109)).toBe(0);
    expect(distanceTo({ address: 100, size: 10 }, 110)).toBe(1);
  });
});
