/** How a command is told where memory is: the rules of PRP entries and of SGLs. */
import { describe, expect, it } from 'vitest';
import { DataPointer } from '../../examples/nvme/commands.ts';
import { type ListPage, ListPages } from '../../examples/nvme/pages.ts';
import { describeByPrps, fitsPrps, type Piece } from '../../examples/nvme/prp.ts';
import { describeBySgl, fitsSgl } from '../../examples/nvme/sgl.ts';
import { world } from './streaming-fixture.ts';

const PAGE = 4096;
const HIGH = 2 ** 32;

function piece(address: number, length: number): Piece {
  return { address, length };
}

/** All PRP entries of a pointer, as a controller would follow them: so many. */
function follow(pointer: DataPointer, lists: readonly ListPage[], count: number): number[] {
  const first = pointer.high1 * HIGH + pointer.low1;
  const second = pointer.high2 * HIGH + pointer.low2;
  if (count <= 2) return [first, second].slice(0, count);
  const entries = [first];
  let page = lists[0]!;
  let at = 0;
  expect(second).toBe(page.high * HIGH + page.low);
  while (entries.length < count) {
    const entry = page.prps.address.high(at) * HIGH + page.prps.address.low(at);
    if (at === PAGE / 8 - 1 && entries.length < count - 1) {
      page = lists.find(({ low, high }) => high * HIGH + low === entry)!;
      at = 0;
      continue;
    }
    entries.push(entry);
    at++;
  }
  return entries;
}

describe('PRP entries', () => {
  it.each([
    ['a piece at a dword', [piece(0x1004, 20_000)], true],
    ['a piece inside a dword', [piece(0x1002, 512)], false],
    ['pieces that meet at pages', [piece(0x1800, 0x800), piece(0x9000, 0x1000), piece(0x4000, 100)], true],
    ['a first piece that ends inside a page', [piece(0x1000, 512), piece(0x2000, 512)], false],
    ['a second piece that starts inside one', [piece(0x1000, 0x1000), piece(0x2200, 512)], false],
    [
      'a middle piece that ends inside one',
      [piece(0, 0x1000), piece(0x2000, 512), piece(0x3000, 512)],
      false,
    ],
  ] as const)('take %s: as %#', (_what, pieces, fits) => {
    expect(fitsPrps(pieces, PAGE)).toBe(fits);
  });

  it.each([1, 2, 3, 512, 513, 514, 1023, 1024, 1025, 1600])('describe %i pages, above 4 GiB too', (count) => {
    const pages = new ListPages(world().dma, PAGE);
    for (const offset of [0, 4, 4092]) {
      const pointer = new DataPointer();
      const lists: ListPage[] = [];
      const start = HIGH - 8 * PAGE;
      describeByPrps(pointer, [piece(start + offset, count * PAGE - offset)], pages, lists);
      const expected = Array.from({ length: count }, (_, i) => start + i * PAGE + (i === 0 ? offset : 0));
      expect(follow(pointer, lists, count)).toEqual(expected);
      expect(pointer.flags).toBe(0);
      pages.give(lists);
    }
    pages.close();
  });

  it('describe pieces in their order', () => {
    const pages = new ListPages(world().dma, PAGE);
    const pointer = new DataPointer();
    const lists: ListPage[] = [];
    describeByPrps(pointer, [piece(0x1800, 0x1800), piece(0x9000, 0x2000), piece(0x4000, 100)], pages, lists);
    expect(follow(pointer, lists, 5)).toEqual([0x1800, 0x2000, 0x9000, 0xa000, 0x4000]);
    pages.give(lists);
    pages.close();
  });
});

describe('SGLs', () => {
  it('take what the controller says', () => {
    const odd = [piece(0x1001, 511), piece(0x3000, 1)];
    const dwords = [piece(0x1004, 508), piece(0x3000, 4)];
    expect(['none', 'dwords', 'bytes'].map((support) => fitsSgl(odd, support as 'none', PAGE))).toEqual([
      false,
      false,
      true,
    ]);
    expect(fitsSgl(dwords, 'dwords', PAGE)).toBe(true);
    const many = Array.from({ length: 257 }, () => piece(0, 4));
    expect(fitsSgl(many, 'bytes', PAGE)).toBe(false);
    expect(fitsSgl(many.slice(1), 'bytes', PAGE)).toBe(true);
  });

  it('are one descriptor in the command for one piece, else a page of them', () => {
    const pages = new ListPages(world().dma, PAGE);
    const pointer = new DataPointer();
    const lists: ListPage[] = [];
    describeBySgl(pointer, [piece(HIGH * 2 + 0x1001, 0x8000_0000)], pages, lists);
    expect({ ...pointer }).toEqual({ flags: 1 << 14, low1: 0x1001, high1: 2, low2: 0x8000_0000, high2: 0 });
    expect(lists.length).toBe(0);
    describeBySgl(pointer, [piece(0x1001, 511), piece(HIGH, 1)], pages, lists);
    const [list] = lists;
    expect({ ...pointer }).toEqual({
      flags: 1 << 14,
      low1: list!.low,
      high1: list!.high,
      low2: 2 * 16,
      high2: 3 << 28,
    });
    const { descriptors } = list!;
    expect(
      [0, 1].map((i) => [descriptors.address.get(i), descriptors.length.get(i), descriptors.type.get(i)]),
    ).toEqual([
      [0x1001n, 511, 0],
      [2n ** 32n, 1, 0],
    ]);
    pages.give(lists);
    pages.close();
  });
});
