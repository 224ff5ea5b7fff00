/** The bitmap of declared memory against lib/bitmap.c, written down naively. */
import { describe, expect, it } from 'vitest';
import { DeclaredPages, runOf } from '../../lib/dma/declared/pages.ts';

describe('pages of declared memory', () => {
  it.each([
    [1, 1],
    [4096, 1],
    [4097, 2],
    [8192, 2],
    [8193, 4],
    [12_289, 4],
    [16_385, 8],
    [2 ** 30, 2 ** 18],
  ])('%i bytes are %i pages', (size, pages) => {
    expect(runOf(size, 4096)).toBe(pages);
  });

  it('are taken first fit, each run at a multiple of its length', () => {
    const pages = new DeclaredPages(11);
    expect([1, 2, 4, 1, 2].map((run) => pages.take(run))).toEqual([0, 2, 4, 1, 8]);
    expect(pages.free).toBe(1);
    expect([2, 4].map((run) => pages.take(run))).toEqual([-1, -1]);
    pages.give(2, 2);
    expect([pages.take(4), pages.take(1), pages.take(2), pages.take(1)]).toEqual([-1, 2, -1, 3]);
  });

  it('do not reach beyond the last', () => {
    const pages = new DeclaredPages(3);
    expect(pages.take(4)).toBe(-1);
    expect(pages.occupy(2, 2)).toBe(false);
    expect(pages.free).toBe(3);
    expect([pages.take(2), pages.take(2), pages.take(1), pages.take(1)]).toEqual([0, -1, 2, -1]);
  });

  it('are occupied anywhere, all or none', () => {
    const pages = new DeclaredPages(8);
    expect(pages.occupy(3, 2)).toBe(true);
    expect([pages.occupy(4, 2), pages.occupy(2, 2), pages.occupy(3, 1)]).toEqual([false, false, false]);
    expect(pages.free).toBe(6);
    expect([pages.take(2), pages.take(2), pages.take(1)]).toEqual([0, 6, 2]);
    expect(pages.take(2)).toBe(-1);
  });

  it('do what a naive bitmap does', () => {
    let seed = 1;
    const below = (limit: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % limit;
    };
    const size = 37;
    const pages = new DeclaredPages(size);
    const taken: boolean[] = Array.from({ length: size }, () => false);
    const out: [number, number][] = [];
    const isFree = (page: number, run: number) =>
      page + run <= size && taken.slice(page, page + run).every((bit) => !bit);
    for (let step = 0; step < 5000; step++) {
      const run = 2 ** below(4);
      const at = below(size);
      const what = below(5);
      if (what < 2) {
        let page = 0;
        while (page + run <= size && !isFree(page, run)) page += run;
        const expected = page + run <= size ? page : -1;
        expect(pages.take(run)).toBe(expected);
        if (expected < 0) continue;
        taken.fill(true, expected, expected + run);
        out.push([expected, run]);
      } else if (what === 2) {
        const expected = isFree(at, run);
        expect(pages.occupy(at, run)).toBe(expected);
        if (!expected) continue;
        taken.fill(true, at, at + run);
        out.push([at, run]);
      } else {
        const [gone] = out.splice(below(Math.max(out.length, 1)), 1);
        if (gone === undefined) continue;
        pages.give(...gone);
        taken.fill(false, gone[0], gone[0] + gone[1]);
      }
      expect(pages.free).toBe(taken.filter((bit) => !bit).length);
    }
  });
});
