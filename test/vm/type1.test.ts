/** The IOMMU through VFIO: which addresses there are, and every way a mapping can be refused. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Type1AddressSpace } from '../../lib/iommu/type1.ts';
import { MemfdMemory } from '../../lib/memory/memfd.ts';
import { loadAddon } from '../../lib/native/load.ts';
import type { Type1Info } from '../../lib/native/vfio.ts';
import { afterAll, assert, beforeAll, describe, it } from '../harness.ts';
import { PAGE } from '../page.ts';
import { device, refuses } from './devices.ts';
import { type OpenSpace, openSpace } from './space.ts';
import { spaceRules } from './space-rules.ts';

const BASE = 0x100_0000;

describe('a type1 address space', () => {
  spaceRules(() => {
    const { native, container, space } = openSpace(device('USERDMA_TEST_EDU'));
    return {
      space,
      mapRaw: (iova, buffer, flags) => native.vfioMap(container, iova, buffer, 0, PAGE, flags),
    };
  });
});

describe('mappings of type1', () => {
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

  it('counts the mappings that are left', () => {
    const before = info().available!;
    map(BASE);
    assert.equal(info().available, before - 1);
    space.unmap(BASE, PAGE);
    assert.equal(info().available, before);
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
