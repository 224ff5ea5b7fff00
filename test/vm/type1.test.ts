/** The IOMMU through VFIO: which addresses there are, and every way a mapping can be refused. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Type1AddressSpace } from '../../lib/iommu/type1.ts';
import { MemfdMemory } from '../../lib/memory/memfd.ts';
import { loadAddon } from '../../lib/native/load.ts';
import type { Type1Info } from '../../lib/native/vfio.ts';
import { afterAll, assert, beforeAll, describe, it } from '../harness.ts';
import { device, groupOf, refuses } from './devices.ts';
import { type OpenSpace, openSpace } from './space.ts';

const PAGE = 4096;
const EINVAL = -22;
const BASE = 0x100_0000;

describe('a type1 address space', () => {
  let open: OpenSpace;
  let space: Type1AddressSpace;
  let memory: MemfdMemory;
  let buffer: ArrayBuffer;

  beforeAll(() => {
    open = openSpace(device('USERDMA_TEST_EDU'));
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
  const info = (): Type1Info => open.native.vfioIommuInfo(open.container) as Type1Info;

  it('maps both ends of every range, and nothing next to them', () => {
    assert.equal(space.pageSize, PAGE);
    assert.ok(space.ranges.length >= 2);
    const page = (iova: number): number => open.native.vfioMap(open.container, iova, buffer, 0, PAGE, 3);
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
    const group = groupOf(device('USERDMA_TEST_EDU'));
    const regions = readFileSync(`/sys/kernel/iommu_groups/${group}/reserved_regions`, 'utf8')
      .trim()
      .split('\n');
    const hard = regions.filter((line) => !line.endsWith('direct-relaxable'));
    assert.ok(hard.length > 0);
    for (const line of hard) {
      const [start, end] = line.split(' ').map(Number) as [number, number];
      assert.ok(!space.ranges.some((range) => range.start <= end && range.end >= start), line);
    }
  });

  it('counts the mappings that are left', () => {
    const before = info().available!;
    map(BASE);
    assert.equal(info().available, before - 1);
    space.unmap(BASE, PAGE);
    assert.equal(info().available, before);
  });

  it('refuses an overlap with EEXIST and keeps the first mapping', () => {
    map(BASE, 2 * PAGE);
    refuses(() => map(BASE + PAGE), 'EEXIST', 'overlaps');
    refuses(() => map(BASE, 2 * PAGE), 'EEXIST');
    assert.equal(space.unmap(BASE, 2 * PAGE), 2 * PAGE);
  });

  it('refuses what is not whole pages with EINVAL', () => {
    for (const iova of [BASE + 1, BASE + 2048, -PAGE, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY]) {
      refuses(() => map(iova), 'EINVAL', /multiples of 4096/);
    }
    for (const size of [0, 1, PAGE + 1, -PAGE, Number.NaN, 2 ** 53]) {
      refuses(() => map(BASE, size), 'EINVAL', /multiples of 4096/);
    }
    refuses(() => map(BASE, PAGE, 512), 'EINVAL');
    refuses(() => map(BASE, PAGE, -PAGE), 'EINVAL');
    assert.equal(space.unmap(BASE, PAGE), 0);
  });

  it('refuses the MSI window and what is above the aperture', () => {
    refuses(() => map(0xfee0_0000), 'EINVAL', 'not usable');
    refuses(() => map(0xfedf_f000, 2 * PAGE), 'EINVAL', 'not usable');
    refuses(() => map(2 ** 52), 'EINVAL', 'not usable');
    assert.equal(open.native.vfioMap(open.container, 0xfee0_0000, buffer, 0, PAGE, 3), EINVAL);
    assert.equal(open.native.vfioMap(open.container, 2 ** 52, buffer, 0, PAGE, 3), EINVAL);
  });

  it('refuses an access that it does not know', () => {
    refuses(() => space.map(BASE, buffer, 0, PAGE, 'none' as 'read'), 'EINVAL');
    assert.equal(open.native.vfioMap(open.container, BASE, buffer, 0, PAGE, 0), EINVAL);
    assert.equal(open.native.vfioMap(open.container, BASE, buffer, 0, PAGE, 4), EINVAL);
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
    if (first > 0) refuses(() => space.map(BASE, foreign, 0, PAGE, 'read'), 'EINVAL', '4096-byte boundary');
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
      refuses(() => space.unmap(iova!, size!), 'EINVAL', /multiples of 4096/);
    }
  });
});

describe('a type1 address space that ends', () => {
  it('is ENODEV after close, which may be called twice', () => {
    const { space, native, container } = openSpace(device('USERDMA_TEST_EDU'));
    const memory = new MemfdMemory();
    space.map(BASE, memory.allocate(PAGE), 0, PAGE, 'read-write');
    space.close();
    space.close();
    refuses(() => space.map(BASE, new ArrayBuffer(PAGE), 0, PAGE, 'read'), 'ENODEV');
    refuses(() => space.unmap(BASE, PAGE), 'ENODEV');
    assert.equal(native.vfioUnmap(container, BASE, PAGE), -9);
    memory.close();
  });

  it('says ENOSPC when the IOMMU driver takes no more mappings', () => {
    const parameter = '/sys/module/vfio_iommu_type1/parameters/dma_entry_limit';
    const usual = readFileSync(parameter, 'utf8');
    writeFileSync(parameter, '8');
    const { space } = openSpace(device('USERDMA_TEST_EDU'));
    const memory = new MemfdMemory();
    try {
      const page = memory.allocate(PAGE);
      for (let i = 0; i < 8; i++) space.map(BASE + i * PAGE, page, 0, PAGE, 'read');
      refuses(
        () => space.map(BASE + 8 * PAGE, page, 0, PAGE, 'read'),
        'ENOSPC',
        'its limit is 8',
        'dma_entry_limit',
      );
      assert.equal(space.unmap(BASE, PAGE), PAGE);
      space.map(BASE + 8 * PAGE, page, 0, PAGE, 'read');
    } finally {
      writeFileSync(parameter, usual);
      space.close();
      memory.close();
    }
  });

  it('gives its group back at once', () => {
    for (let i = 0; i < 3; i++) openSpace(device('USERDMA_TEST_EDU')).space.close();
    assert.ok(loadAddon());
  });
});
