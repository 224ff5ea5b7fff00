import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Buddy } from '../../lib/iommu/buddy.ts';

/** A buddy of 2^top pages, all of them usable. */
function whole(top: number): Buddy {
  const buddy = new Buddy(top);
  buddy.open(0, 2 ** top);
  return buddy;
}

describe('Buddy', () => {
  it('hands out pages from the top down', () => {
    const buddy = whole(4);
    expect([buddy.take(0, 1, 15), buddy.take(0, 1, 15), buddy.take(1, 2, 15), buddy.take(2, 4, 15)]).toEqual([
      15, 14, 12, 8,
    ]);
  });

  it('takes the highest place, not the smallest block that would do', () => {
    const buddy = new Buddy(4);
    buddy.open(1, 16);
    expect(buddy.take(0, 1, 15)).toBe(15);
    expect(buddy.take(1, 2, 15)).toBe(12);
    expect(buddy.take(0, 1, 15)).toBe(14);
    expect(buddy.take(0, 1, 7)).toBe(7);
  });

  it('finds the highest block under a ceiling that cuts its parent', () => {
    for (let last = 0; last < 2 ** 7; last++) expect(whole(7).take(0, 1, last)).toBe(last);
    expect(whole(7).take(3, 8, 22)).toBe(8);
    expect(whole(7).take(3, 8, 23)).toBe(16);
    expect(whole(7).take(3, 8, 6)).toBe(-1);
  });

  it('works across every level of summary words', () => {
    const buddy = whole(20);
    const last = 2 ** 20 - 1;
    expect(buddy.take(0, 1, last)).toBe(last);
    expect(buddy.take(0, 1, 2 ** 15)).toBe(2 ** 15);
    expect(buddy.take(0, 1, 2 ** 15)).toBe(2 ** 15 - 1);
    buddy.give(0, 2 ** 15);
    buddy.give(0, 2 ** 15 - 1);
    buddy.give(0, last);
    expect(buddy.empty).toBe(true);
  });

  it('merges what comes back, in any order', () => {
    const buddy = whole(6);
    const pages = Array.from({ length: 64 }, () => buddy.take(0, 1, 63));
    expect(buddy.orders).toBe(0);
    expect(buddy.take(0, 1, 63)).toBe(-1);
    for (const page of pages.filter((p) => p % 2 === 0)) buddy.give(0, page);
    expect(buddy.orders).toBe(1);
    for (const page of pages.filter((p) => p % 2 === 1)) buddy.give(0, page);
    expect(buddy.empty).toBe(true);
  });

  it('gives the tail of an exact allocation back', () => {
    const buddy = whole(6);
    expect(buddy.takeExact(6, 33, 63)).toBe(0);
    expect(buddy.take(4, 16, 63)).toBe(48);
    expect(buddy.freeFrom(33, 0, 1)).toBe(true);
    expect(buddy.freeFrom(32, 0, 1)).toBe(false);
  });

  it('places an exact allocation at the end of a window that cuts its block short', () => {
    const buddy = new Buddy(6);
    buddy.open(32, 60);
    expect(buddy.takeExact(5, 20, 63)).toBe(-1);
    expect(buddy.takeAtEnd(5, 20, 50)).toBe(-1);
    expect(buddy.takeAtEnd(5, 20, 51)).toBe(32);
    expect(buddy.takeAtEnd(5, 20, 63)).toBe(-1);
  });

  it('remembers sizes, small and large, and forgets only on an exact match', () => {
    const buddy = whole(20);
    expect(buddy.take(20, 2 ** 20, buddy.last)).toBe(0);
    for (const pages of [33, 127, 128, 129, 5 * 128, 16385, 2 ** 20]) {
      buddy.holdLarge(64, pages);
      expect(buddy.dropLarge(64, pages - 1)).toBe(false);
      for (const inside of [63, 62, 61]) {
        for (let n = 1; n <= 32; n++) expect(buddy.drop(inside, n)).toBe(false);
        expect(buddy.dropLarge(inside, pages)).toBe(false);
      }
      expect(buddy.dropLarge(64, pages)).toBe(true);
      expect(buddy.dropLarge(64, pages)).toBe(false);
    }
    buddy.hold(7, 3);
    expect(buddy.drop(7, 4)).toBe(false);
    expect(buddy.drop(7, 3)).toBe(true);
    expect(buddy.drop(7, 3)).toBe(false);
  });

  it('has no allocation where nothing was taken yet, of no size', () => {
    for (const pages of [0, 1, 33]) expect(whole(20).drop(10_000, pages)).toBe(false);
  });

  it('knows its allocations however few pages it has', () => {
    for (let top = 0; top <= 13; top++) {
      const buddy = new Buddy(top);
      buddy.open(0, 2 ** top);
      const places: number[] = [];
      const take = (): number => buddy.take(0, 1, buddy.last);
      for (let page = take(); page >= 0; page = take()) {
        const place = 2 ** top - 1 - page;
        buddy.hold(place, 1 + (place % 3));
        places.push(place);
      }
      expect(places.length).toBe(2 ** top);
      for (const place of places) {
        expect(buddy.drop(place, 4)).toBe(false);
        expect(buddy.drop(place, 1 + (place % 3)), `${place} of 2^${top}`).toBe(true);
        expect(buddy.drop(place, 1 + (place % 3))).toBe(false);
      }
    }
  });

  it('remembers a page wherever it is, also after lower ones were taken', () => {
    const buddy = whole(20);
    const pages = [buddy.last, 2 ** 20 - 5000, 2 ** 19, 77, 0].map((last) => buddy.take(0, 1, last));
    const places = pages.map((page) => buddy.last - page);
    for (const place of places) buddy.hold(place, 1);
    expect(places.map((place) => buddy.drop(place, 1))).toEqual(pages.map(() => true));
    expect(places.map((place) => buddy.drop(place, 1))).toEqual(pages.map(() => false));
  });

  it('agrees with a plain array of pages', () => {
    const top = 8;
    const size = 2 ** top;
    const step = fc.record({
      order: fc.nat(top),
      last: fc.nat(size - 1),
      pick: fc.nat(),
      free: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const buddy = whole(top);
        const used = new Array<boolean>(size).fill(false);
        const live: { page: number; order: number }[] = [];
        for (const { order, last, pick, free } of steps) {
          if (free && live.length > 0) {
            const [gone] = live.splice(pick % live.length, 1);
            buddy.give(gone!.order, gone!.page);
            used.fill(false, gone!.page, gone!.page + 2 ** gone!.order);
            continue;
          }
          const page = buddy.take(order, 2 ** order, last);
          const holes: number[] = [];
          for (let p = 0; p + 2 ** order - 1 <= last; p += 2 ** order) {
            if (!used.slice(p, p + 2 ** order).includes(true)) holes.push(p);
          }
          if (page === -1) expect(holes).toEqual([]);
          else {
            expect(holes).toContain(page);
            used.fill(true, page, page + 2 ** order);
            live.push({ page, order });
          }
        }
        for (const { page, order } of live) buddy.give(order, page);
        expect(buddy.empty).toBe(true);
      }),
    );
  });
});
