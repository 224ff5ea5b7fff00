/** Registers of a function for the DMA of a device, on the simulation: what is refused, and what the model sees. */
import { beforeEach, describe, expect, it } from 'vitest';
import { DmaDevice } from '../../lib/dma/device.ts';
import {
  type Bar,
  DMA_ATTR,
  type DmaDirection,
  dmaBitMask,
  openPci,
  type PciFunction,
  type RegisterSource,
} from '../../lib/index.ts';
import type { AddressSpace } from '../../lib/iommu/address-space.ts';
import { FAULT } from '../../lib/iommu/fault.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { type SimulatedSource, simulate } from '../../lib/sim/index.ts';
import { expectCode, MEMORY, RecordingModel } from './sim-fixture.ts';
import { PAGE, world } from './streaming-fixture.ts';

const SIZE = 4 * PAGE;

let source: SimulatedSource<RecordingModel>;
let fn: PciFunction;
let bar: Bar;

beforeEach(async () => {
  source = simulate(
    new RecordingModel({}, [
      { index: 0, size: SIZE },
      { index: 1, size: 64, kind: 'io' },
    ]),
  );
  fn = await openPci(source);
  bar = fn.bar(0);
  source.model.log.length = 0;
});

describe('registers that are mapped', () => {
  it('take the accesses that a bus makes of a transfer', () => {
    const { dma, space } = world();
    const { log } = source.model;
    const mapping = dma.mapResource(bar, PAGE, PAGE, 'bidirectional');
    space.write(
      mapping.dmaAddress + 1n,
      Uint8Array.from({ length: 14 }, (_, i) => i + 1),
    );
    expect(log.splice(0)).toEqual([
      'write8 0:4097 1',
      'write16 0:4098 770',
      `write32 0:4100 ${0x07060504}`,
      `write32 0:4104 ${0x0b0a0908}`,
      'write16 0:4108 3340',
      'write8 0:4110 14',
    ]);
    source.model.value = 0x80000001;
    const into = new Uint8Array(7);
    space.read(mapping.dmaAddress + 4n, into);
    expect(log).toEqual(['read32 0:4100', 'read16 0:4104', 'read8 0:4106']);
    expect([...into]).toEqual([1, 0, 0, 0x80, 1, 0, 1]);
    expect(space.faults.list).toEqual([]);
  });

  it('end where the mapping ends, beside memory', () => {
    const { dma, space } = world();
    const mapping = dma.mapResource(bar, 3 * PAGE, PAGE, 'bidirectional');
    space.write(mapping.dmaAddress + BigInt(PAGE - 4), new Uint8Array(8).fill(1));
    expect(source.model.log).toEqual([`write32 0:16380 ${0x01010101}`]);
    expect(space.faults.list).toMatchObject([{ size: 4, reason: FAULT.notMapped }]);
  });

  it('are a mapping like others, without syncs', () => {
    const { dma, space } = world();
    dma.setMask(dmaBitMask(40));
    const mapping = dma.mapResource(bar, 0, SIZE, 'to-device', DMA_ATTR.MMIO | DMA_ATTR.SKIP_CPU_SYNC);
    const { way, bounced, size, direction, needSync, low, high, dmaAddress } = mapping;
    expect({ way, bounced, size, direction, needSync }).toEqual({
      way: 'resource',
      bounced: false,
      size: SIZE,
      direction: 'to-device',
      needSync: false,
    });
    expect(BigInt(high) * 2n ** 32n + BigInt(low)).toBe(dmaAddress);
    expect(dma.needSync(mapping)).toBe(false);
    mapping.syncForCpu();
    mapping.syncForDevice(4, 4);
    expectCode('EINVAL', () => mapping.syncForCpu(SIZE, 1));
    expect(space.stats).toEqual({ mappings: 1, bytes: SIZE });
    expect(source.model.log).toEqual([]);
    mapping.unmap();
    expect(space.stats).toEqual({ mappings: 0, bytes: 0 });
    for (const use of [() => mapping.unmap(), () => mapping.dmaAddress, () => mapping.syncForCpu()]) {
      expectCode('EINVAL', use);
    }
  });

  it('end with the attributes that they were made with, or those of registers', () => {
    const { dma } = world();
    const map = (attributes: number) => dma.mapResource(bar, 0, PAGE, 'to-device', attributes);
    map(DMA_ATTR.MMIO).unmap(DMA_ATTR.MMIO);
    map(0).unmap(DMA_ATTR.MMIO | DMA_ATTR.SKIP_CPU_SYNC);
    map(DMA_ATTR.PRIVILEGED).unmap(DMA_ATTR.PRIVILEGED);
    const mapping = map(0);
    expectCode('EINVAL', () => mapping.unmap(DMA_ATTR.PRIVILEGED));
    const memory = dma.mapSingle(new Uint8Array(PAGE), 'to-device');
    expectCode('EINVAL', () => memory.unmap(DMA_ATTR.MMIO));
  });

  it.each([
    ['to-device', FAULT.noWrite],
    ['from-device', FAULT.noRead],
  ] as const)('let the device do no more than %s says', (direction, reason) => {
    const { dma, space } = world();
    const mapping = dma.mapResource(bar, 0, PAGE, direction);
    if (direction === 'to-device') space.write(mapping.dmaAddress, new Uint8Array(4));
    else space.read(mapping.dmaAddress, new Uint8Array(4));
    expect(space.faults.list).toMatchObject([{ size: 4, reason }]);
    expect(source.model.log).toEqual([]);
  });

  it('are silent while they are not decoded, and for good once their function is closed', async () => {
    const { dma, space } = world();
    const mapping = dma.mapResource(bar, 0, PAGE, 'bidirectional');
    const write = () => space.write(mapping.dmaAddress, new Uint8Array(4));
    fn.config.command &= ~MEMORY;
    write();
    expect(space.faults.list).toMatchObject([{ size: 4, reason: FAULT.noAnswer }]);
    fn.config.command |= MEMORY;
    write();
    expect(source.model.log).toEqual(['write32 0:0 0']);
    fn.close();
    await openPci(source);
    source.model.log.length = 0;
    write();
    expect(space.faults.list).toMatchObject([{ reason: FAULT.noAnswer }, { reason: FAULT.noAnswer }]);
    expect(source.model.log).toEqual([]);
    mapping.unmap();
  });

  it('end with the device', () => {
    const { dma } = world();
    const mapping = dma.mapResource(bar, 0, PAGE, 'bidirectional');
    dma.close();
    expect(mapping.mapped).toBe(false);
    expectCode('EINVAL', () => mapping.unmap());
    expectCode('ENODEV', () => dma.mapResource(bar, 0, PAGE, 'bidirectional'));
  });

  it('give their addresses back', () => {
    const { dma } = world({}, { ranges: [{ start: 0x10000, end: 0x1ffff }] });
    for (let i = 0; i < 100; i++) dma.mapResource(bar, 0, SIZE, 'bidirectional').unmap();
    dma.mapResource(bar, 0, SIZE, 'bidirectional');
  });
});

describe('registers that cannot be mapped', () => {
  const all = ([
    offset = 0,
    size = PAGE,
    direction = 'bidirectional',
    attributes = 0,
    source = bar,
  ]: readonly unknown[]) =>
    [source, offset, size, direction, attributes] as [RegisterSource, number, number, DmaDirection, number];

  it.each<[string, readonly unknown[]]>([
    ['a part of a page', [0, 4]],
    ['an offset inside a page', [4, PAGE]],
    ['no bytes', [0, 0]],
    ['a negative size', [PAGE, -PAGE]],
    ['a negative offset', [-PAGE, PAGE]],
    ['past the end', [3 * PAGE, 2 * PAGE]],
    ['beyond the end', [SIZE, PAGE]],
    ['NaN', [Number.NaN, PAGE]],
    ['an infinite size', [0, Number.POSITIVE_INFINITY]],
    ['a size that is no number', [0, '4096']],
    ['no direction', [0, PAGE, 'none']],
    ['unknown attributes', [0, PAGE, 'to-device', 1]],
    ['no BAR', [0, PAGE, 'to-device', 0, {}]],
    ['null', [0, PAGE, 'to-device', 0, null]],
  ])('EINVAL: %s', (_, over) => {
    const { dma, space } = world();
    expectCode('EINVAL', () => dma.mapResource(...all(over)));
    expect(space.stats.mappings).toBe(0);
    dma.mapResource(bar, 0, SIZE, 'bidirectional');
  });

  it('EINVAL: I/O ports', () => {
    expect(fn.bar(1).window).toBeUndefined();
    expectCode('EINVAL', () => world().dma.mapResource(fn.bar(1), 0, PAGE, 'bidirectional'));
  });

  it('EREMOTEIO: without an IOMMU, of another world, or where no registers can be mapped', async () => {
    const direct = await openPci(simulate(new RecordingModel(), { iommu: false }));
    expectCode('EREMOTEIO', () => direct.dma.mapResource(bar, 0, PAGE, 'bidirectional'));
    const { dma } = world();
    expectCode('EREMOTEIO', () => dma.mapResource({ window: { size: SIZE } }, 0, PAGE, 'bidirectional'));
    const { name, pageSize, ranges, pinsForeignMemory } = new SimulatedAddressSpace();
    const plain: AddressSpace = {
      ...{ name, pageSize, ranges, pinsForeignMemory },
      pageOffset: () => 0,
      map: () => {},
      unmap: () => 0,
      close: () => {},
    };
    const without = new DmaDevice({ name: 'test', memory: new HeapMemory(), addressSpace: plain });
    expectCode('EREMOTEIO', () => without.mapResource(bar, 0, PAGE, 'bidirectional'));
  });

  it('EFAULT, ENODEV: they do not answer', () => {
    const { dma } = world({}, { ranges: [{ start: 0x10000, end: 0x13fff }] });
    const map = () => dma.mapResource(bar, 0, SIZE, 'bidirectional');
    fn.config.command &= ~MEMORY;
    expectCode('EFAULT', map);
    fn.config.command |= MEMORY;
    map().unmap();
    fn.close();
    expectCode('ENODEV', map);
  });

  it('ENOMEM, ENOSPC: no address, or no mapping left, and the address is not lost', () => {
    const { dma, space } = world({}, { ranges: [{ start: 0x10000, end: 0x13fff }], mappingLimit: 1 });
    const first = dma.mapResource(bar, 0, PAGE, 'bidirectional');
    expectCode('ENOMEM', () => dma.mapResource(bar, 0, SIZE, 'bidirectional'));
    expectCode('ENOSPC', () => dma.mapResource(bar, 0, PAGE, 'bidirectional'));
    first.unmap();
    dma.mapResource(bar, 0, SIZE, 'bidirectional');
    expect(space.stats).toEqual({ mappings: 1, bytes: SIZE });
  });

  it('EFAULT and others leave the space as it was', () => {
    const space = new SimulatedAddressSpace();
    const window = bar.window!;
    space.mapWindow(0x10000, window, 0, PAGE, 'read');
    expectCode('EEXIST', () => space.mapWindow(0x10000, window, 0, PAGE, 'read'));
    expectCode('EINVAL', () => space.mapWindow(0x20000, window, 0, 2 * SIZE, 'read'));
    expectCode('EINVAL', () => space.mapWindow(0x20000, window, 8, PAGE, 'read'));
    expectCode('EINVAL', () => space.mapWindow(0x20000, window, 0, PAGE, 'none' as 'read'));
    expect(space.stats).toEqual({ mappings: 1, bytes: PAGE });
    space.close();
    expectCode('ENODEV', () => space.mapWindow(0x20000, window, 0, PAGE, 'read'));
  });
});
