/** Which addresses a type1 container leaves us, and what the locked-memory limit says. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { memlockRemedy, readMemlock } from '../../lib/iommu/memlock.ts';
import { Type1AddressSpace } from '../../lib/iommu/type1.ts';
import { usableRanges } from '../../lib/iommu/usable-ranges.ts';

const INTEL = [0n, 0xfedfffffn, 0xfef00000n, 0x7fffffffffn];

describe('usable ranges', () => {
  it('are those of the kernel when nothing is reserved', () => {
    expect(usableRanges(INTEL, [], 4096)).toEqual([
      { start: 0, end: 0xfedfffff },
      { start: 0xfef00000, end: 0x7fffffffff },
    ]);
  });

  it('end below 2^53', () => {
    expect(usableRanges([0x1000n, 2n ** 64n - 1n], [], 4096)).toEqual([{ start: 0x1000, end: 2 ** 53 - 1 }]);
    expect(usableRanges([2n ** 53n, 2n ** 64n - 1n], [], 4096)).toEqual([]);
  });

  it('are whole pages', () => {
    expect(usableRanges([1n, 0x4ffen], [], 4096)).toEqual([{ start: 0x1000, end: 0x3fff }]);
    expect(usableRanges([1n, 0x1ffen], [], 4096)).toEqual([]);
  });

  it('leave out every page that a reserved window touches', () => {
    expect(usableRanges([0n, 0xffffn], [{ start: 0x4abc, end: 0x5000 }], 4096)).toEqual([
      { start: 0, end: 0x3fff },
      { start: 0x6000, end: 0xffff },
    ]);
    expect(usableRanges([0n, 0xffffn], [{ start: 0, end: 0xffff }], 4096)).toEqual([]);
  });

  it('hold exactly the pages that are in a window and not reserved', () => {
    const window = fc
      .tuple(fc.nat(40), fc.nat(10))
      .map(([start, length]) => ({ start, end: start + length }));
    fc.assert(
      fc.property(fc.array(window, { maxLength: 4 }), window, (reserved, whole) => {
        const ranges = usableRanges([BigInt(whole.start), BigInt(whole.end)], reserved, 4);
        for (let page = 0; page < 60; page += 4) {
          const free = !reserved.some(({ start, end }) => start <= page + 3 && end >= page);
          const inside = page >= whole.start && page + 3 <= whole.end;
          const hits = ranges.filter(({ start, end }) => start <= page && end >= page + 3).length;
          expect(hits).toBe(free && inside ? 1 : 0);
        }
      }),
    );
  });
});

describe('a type1 container', () => {
  it('of an IOMMU without a page size is refused', () => {
    const native = {
      vfioIommuInfo: () => ({ pageSizes: 0n, ranges: [0n, 0xffffn] }),
      vfioCanMapForeign: () => true,
    };
    const make = () => new Type1AddressSpace(native as never, 1);
    expect(make).toThrow(expect.objectContaining({ code: 'EOPNOTSUPP' }));
  });
});

describe('the locked-memory limit', () => {
  function proc(limit: string, capabilities: string): string {
    const root = mkdtempSync(join(tmpdir(), 'userdma-proc-'));
    mkdirSync(join(root, 'proc/self'), { recursive: true });
    writeFileSync(
      join(root, 'proc/self/status'),
      `Name:\tnode\nVmLck:\t    1024 kB\nCapEff:\t${capabilities}\n`,
    );
    writeFileSync(
      join(root, 'proc/self/limits'),
      `Limit                     Soft Limit           Hard Limit           Units\nMax locked memory         ${limit} 67108864             bytes\n`,
    );
    return root;
  }

  it.each([
    ['8388608             ', '0000000000000000', 8388608],
    ['unlimited           ', '0000000000000000', Number.POSITIVE_INFINITY],
    ['8388608             ', '000001ffffffffff', Number.POSITIVE_INFINITY],
    ['8388608             ', '0000000000004000', Number.POSITIVE_INFINITY],
    ['8388608             ', '0000000000008000', 8388608],
  ])('%s with capabilities %s', (limit, capabilities, expected) => {
    const root = proc(limit, capabilities);
    expect(readMemlock('VmLck', root)).toEqual({ locked: 1024 * 1024, limit: expected });
    rmSync(root, { recursive: true });
  });

  it('says how much is needed and how to raise it', () => {
    const remedy = memlockRemedy(8 << 20, { locked: 1 << 20, limit: 8 << 20 });
    for (const words of ['9216 KiB', '8192 KiB', 'ulimit -l 9216', 'LimitMEMLOCK=', 'CAP_IPC_LOCK']) {
      expect(remedy).toContain(words);
    }
  });

  it('is not blamed when there was room, or when it is unknown', () => {
    expect(memlockRemedy(4096, { locked: 0, limit: 8192 })).toBeUndefined();
    expect(memlockRemedy(4096, { locked: 1 << 30, limit: Number.POSITIVE_INFINITY })).toBeUndefined();
    expect(memlockRemedy(4096, undefined)).toBeUndefined();
    expect(readMemlock('VmLck', '/nowhere')).toBeUndefined();
  });
});
