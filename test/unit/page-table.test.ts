import fc from 'fast-check';
import { expect, it } from 'vitest';
import { PageTable } from '../../lib/iommu/page-table.ts';

const PAGE = 4096;
const PAGES = 4 * 512;

it('PageTable agrees with a list of pages, whatever comes and goes', () => {
  // Whole blocks of 512 pages, single pages, and what lies across a border.
  const size = fc.oneof(fc.constant(1), fc.constant(512), fc.constant(700), fc.integer({ min: 1, max: 40 }));
  const step = fc.record({ first: fc.constantFrom(0, 1, 511, 512, 513, 1024, 1500), pages: size });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const table = new PageTable<number>(PAGE);
      const expected = new Array<number | undefined>(PAGES).fill(undefined);
      const live = new Map<number, number>();
      steps.forEach(({ first, pages }, number) => {
        const there = live.get(first);
        if (there !== undefined) {
          table.clear(first * PAGE, there * PAGE);
          expected.fill(undefined, first, first + there);
          live.delete(first);
        } else if (
          first + pages <= PAGES &&
          expected.slice(first, first + pages).every((p) => p === undefined)
        ) {
          table.set(first * PAGE, pages * PAGE, number);
          expected.fill(number, first, first + pages);
          live.set(first, pages);
        }
        for (let page = 0; page < PAGES; page += 1) {
          if (table.page(page) !== expected[page])
            expect([page, table.page(page)]).toEqual([page, expected[page]]);
        }
      });
    }),
    { numRuns: 150 },
  );
});
