/** What every address space of VFIO has to keep to, whichever interface of the kernel maps: run by type1 and by iommufd. */
import { readFileSync } from 'node:fs';
import type { VfioAddressSpace } from '../../lib/iommu/vfio.ts';
import { MemfdMemory } from '../../lib/memory/memfd.ts';
import { afterAll, assert, beforeAll, it } from '../harness.ts';
import { PAGE } from '../page.ts';
import { device, groupOf, refuses } from './devices.ts';

const EINVAL = -22;
const BASE = 0x100_0000;

interface ReservedRegion {
  readonly start: number;
  readonly end: number;
  /** `msi`, `direct`, `direct-relaxable` or `reserved`. */
  readonly type: string;
}

/** What the IOMMU keeps for itself, as the kernel shows it. */
function reservedRegions(): ReservedRegion[] {
  const group = groupOf(device('USERDMA_TEST_EDU'));
  const lines = readFileSync(`/sys/kernel/iommu_groups/${group}/reserved_regions`, 'utf8').trim().split('\n');
  return lines.map((line) => {
    const [start, end, type] = line.split(' ');
    return { start: Number(start), end: Number(end), type: type! };
  });
}

export interface SpaceUnderTest {
  readonly space: VfioAddressSpace;
  /** A page of a buffer, by the native function alone: 0 or -errno. */
  mapRaw(iova: number, buffer: ArrayBuffer, flags: number): number;
}

/** @param make for the function in USERDMA_TEST_EDU; it is closed afterwards */
export function spaceRules(make: () => SpaceUnderTest): void {
  let open: SpaceUnderTest;
  let space: VfioAddressSpace;
  let memory: MemfdMemory;
  let buffer: ArrayBuffer;

  beforeAll(() => {
    open = make();
    space = open.space;
    memory = new MemfdMemory();
    buffer = memory.allocate(4 * PAGE);
  });
  afterAll(() => {
    space.close();
    memory.close();
  });

  const map = (iova: number, size = PAGE, offset = 0): void =>
    space.map(iova, buffer, offset, size, 'read-write');

  it('maps both ends of every range, and nothing next to them', () => {
    assert.equal(space.pageSize, PAGE);
    assert.ok(space.ranges.length >= 2);
    const page = (iova: number): number => open.mapRaw(iova, buffer, 3);
    for (const { start, end } of space.ranges) {
      for (const iova of [start, end + 1 - PAGE]) {
        assert.equal(page(iova), 0, `at 0x${iova.toString(16)}`);
        assert.equal(space.unmap(iova, PAGE), PAGE);
      }
      assert.equal(page(end + 1), EINVAL, `past 0x${end.toString(16)}`);
      if (start > 0) assert.equal(page(start - PAGE), EINVAL, `before 0x${start.toString(16)}`);
    }
  });

  it('has no range over a window that the IOMMU reserves', () => {
    const hard = reservedRegions().filter(({ type }) => type !== 'direct-relaxable');
    assert.ok(hard.length > 0);
    for (const { start, end, type } of hard) {
      assert.ok(!space.ranges.some((range) => range.start <= end && range.end >= start), type);
    }
  });

  it('refuses an overlap with EEXIST and keeps the first mapping', () => {
    map(BASE, 2 * PAGE);
    refuses(() => map(BASE + PAGE), 'EEXIST', 'overlaps');
    refuses(() => map(BASE, 2 * PAGE), 'EEXIST');
    assert.equal(space.unmap(BASE, 2 * PAGE), 2 * PAGE);
  });

  it('refuses what is not whole pages with EINVAL', () => {
    for (const iova of [BASE + 1, BASE + 2048, -PAGE, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY]) {
      refuses(() => map(iova), 'EINVAL', `multiples of ${PAGE}`);
    }
    for (const size of [0, 1, PAGE + 1, -PAGE, Number.NaN, 2 ** 53]) {
      refuses(() => map(BASE, size), 'EINVAL', `multiples of ${PAGE}`);
    }
    refuses(() => map(BASE, PAGE, 512), 'EINVAL');
    refuses(() => map(BASE, PAGE, -PAGE), 'EINVAL');
    assert.equal(space.unmap(BASE, PAGE), 0);
  });

  it('refuses the MSI window and what is above the aperture', () => {
    const msi = reservedRegions().find(({ type }) => type === 'msi')!.start;
    refuses(() => map(msi), 'EINVAL', 'not usable');
    refuses(() => map(msi - PAGE, 2 * PAGE), 'EINVAL', 'not usable');
    assert.equal(open.mapRaw(msi, buffer, 3), EINVAL);
    const { end } = space.ranges.at(-1)!;
    // Above an aperture of 64 bits there is nothing that a number could name.
    if (end === Number.MAX_SAFE_INTEGER) return;
    refuses(() => map(end + 1), 'EINVAL', 'not usable');
    assert.equal(open.mapRaw(end + 1, buffer, 3), EINVAL);
  });

  it('refuses an access that it does not know', () => {
    refuses(() => space.map(BASE, buffer, 0, PAGE, 'none' as 'read'), 'EINVAL');
    assert.equal(open.mapRaw(BASE, buffer, 0), EINVAL);
    assert.equal(open.mapRaw(BASE, buffer, 4), EINVAL);
  });

  it('maps the rest of the last page of its own memory, not the page behind', () => {
    const small = memory.allocate(100);
    space.map(BASE, small, 0, PAGE, 'read');
    refuses(() => space.map(BASE + PAGE, small, 0, 2 * PAGE, 'read'), 'EINVAL');
    assert.equal(space.unmap(BASE, PAGE), PAGE);
    memory.free(small);
  });

  it('maps whole pages of foreign memory, and not a byte beyond', () => {
    const foreign = new ArrayBuffer(1 << 20);
    const first = (PAGE - space.pageOffset(foreign)) % PAGE;
    const pages = Math.floor((foreign.byteLength - first) / PAGE);
    space.map(BASE, foreign, first, pages * PAGE, 'read-write');
    assert.equal(space.unmap(BASE, pages * PAGE), pages * PAGE);
    if (first > 0)
      refuses(() => space.map(BASE, foreign, 0, PAGE, 'read'), 'EINVAL', `${PAGE}-byte boundary`);
    refuses(() => space.map(BASE, foreign, first, (pages + 1) * PAGE, 'read'), 'EINVAL');
  });

  it('refuses memory that may go away', () => {
    const resizable = new (ArrayBuffer as new (size: number, options: object) => ArrayBuffer)(PAGE, {
      maxByteLength: 16 * PAGE,
    });
    const detached = new ArrayBuffer(PAGE);
    structuredClone(detached, { transfer: [detached] });
    const bad = [
      resizable,
      detached,
      new SharedArrayBuffer(PAGE),
      new Uint8Array(PAGE),
      undefined,
      null,
      7,
      'x',
    ];
    for (const buffer of bad as ArrayBuffer[]) {
      refuses(() => space.map(BASE, buffer, 0, PAGE, 'read'), 'EINVAL');
      refuses(() => space.pageOffset(buffer), 'EINVAL');
    }
  });

  it('never cuts a mapping in two', () => {
    map(BASE, 4 * PAGE);
    refuses(() => space.unmap(BASE, PAGE), 'EINVAL', 'cut a mapping in two');
    refuses(() => space.unmap(BASE + PAGE, 3 * PAGE), 'EINVAL', 'cut a mapping in two');
    assert.equal(space.unmap(BASE, 4 * PAGE), 4 * PAGE);
  });

  it('unmaps several at once, and nothing where there is nothing', () => {
    map(BASE);
    map(BASE + 4 * PAGE, 2 * PAGE);
    assert.equal(space.unmap(BASE, 16 * PAGE), 3 * PAGE);
    assert.equal(space.unmap(BASE, 16 * PAGE), 0);
  });

  it('refuses to unmap what is not whole pages', () => {
    for (const [iova, size] of [
      [BASE, 0],
      [BASE, 1],
      [BASE + 1, PAGE],
      [BASE, Number.NaN],
      [-PAGE, PAGE],
      [0, 2 ** 53],
    ]) {
      refuses(() => space.unmap(iova!, size!), 'EINVAL', `multiples of ${PAGE}`);
    }
  });
}
