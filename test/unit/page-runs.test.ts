import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PageRuns } from '../../lib/memory/page-runs.ts';

test('a whole region is one run of any size, once', () => {
  for (const pages of [1, 2, 3, 768, 2 ** 20]) {
    const runs = new PageRuns(pages);
    expect(runs.take(pages)).toBe(0);
    expect(runs.take(1)).toBe(-1);
    runs.give(0, pages);
    expect(runs.free).toBe(pages);
    expect(runs.take(pages)).toBe(0);
  }
});

test('runs never overlap, are aligned to their power of two, and merge to one when all are back', () => {
  const PAGES = 200;
  const step = fc.record({ take: fc.boolean(), pages: fc.integer({ min: 1, max: 40 }), pick: fc.nat() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const runs = new PageRuns(PAGES);
      const owner = new Array<number>(PAGES).fill(0);
      const live: { page: number; pages: number }[] = [];
      const give = ({ page, pages }: { page: number; pages: number }) => {
        owner.fill(0, page, page + pages);
        runs.give(page, pages);
      };
      for (const { take, pages, pick } of steps) {
        if (!take && live.length > 0) {
          give(live.splice(pick % live.length, 1)[0]!);
          continue;
        }
        const page = runs.take(pages);
        if (page < 0) {
          const align = 2 ** Math.ceil(Math.log2(pages));
          for (let at = 0; at + pages <= PAGES; at += align) {
            expect(owner.slice(at, at + pages)).toContain(1); // it was right to refuse
          }
          continue;
        }
        expect(page % 2 ** Math.ceil(Math.log2(pages))).toBe(0);
        expect(page + pages).toBeLessThanOrEqual(PAGES);
        expect(owner.slice(page, page + pages)).not.toContain(1);
        owner.fill(1, page, page + pages);
        live.push({ page, pages });
      }
      expect(runs.free).toBe(owner.filter((taken) => taken === 0).length);
      live.forEach(give);
      expect(runs.take(PAGES)).toBe(0);
    }),
  );
});

test('from the top, the highest run that fits below the limit is taken, at an address that is aligned', () => {
  const FIRST = 0x301;
  const PAGES = 100;
  const step = fc.record({
    pages: fc.integer({ min: 1, max: 12 }),
    order: fc.integer({ min: 0, max: 4 }),
    below: fc.integer({ min: -2, max: PAGES + 10 }),
    give: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const runs = new PageRuns(PAGES, FIRST);
      const taken = new Set<number>();
      const live: [number, number][] = [];
      const isFree = (page: number, pages: number) =>
        page >= FIRST && Array.from({ length: pages }, (_, i) => page + i).every((one) => !taken.has(one));
      for (const { pages, order, below, give } of steps) {
        if (give && live.length > 0) {
          const [page, count] = live.shift()!;
          for (let i = 0; i < count; i++) taken.delete(page + i);
          runs.give(page, count);
        }
        const align = 2 ** order;
        const last = FIRST + below - 1;
        let expected = Math.floor((Math.min(FIRST + PAGES, last + 1) - pages) / align) * align;
        while (expected >= FIRST && !isFree(expected, pages)) expected -= align;
        const page = runs.takeTop(pages, align, last);
        expect(page).toBe(expected < FIRST ? -1 : expected);
        if (page < 0) continue;
        for (let i = 0; i < pages; i++) taken.add(page + i);
        live.push([page, pages]);
      }
      expect(runs.free).toBe(PAGES - taken.size);
      for (const [page, pages] of live) runs.give(page, pages);
      expect(runs.takeTop(PAGES, 1, Number.MAX_SAFE_INTEGER)).toBe(FIRST);
    }),
  );
});
