/** A machine without an IOMMU: memory dictates its device address, masks are real, and nothing is protected. */
import { beforeEach, describe, expect, it } from 'vitest';
import { DmaDevice } from '../../lib/dma/device.ts';
import { DirectOperations } from '../../lib/dma/operations/direct.ts';
import { dmaBitMask, openPci, type PciFunction } from '../../lib/index.ts';
import type { IovaRange } from '../../lib/iommu/address-space.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { type SimulatedSource, simulate } from '../../lib/sim/index.ts';
import { PC_MEMORY, SimulatedPhysicalMemory } from '../../lib/sim/physical-memory.ts';
import { expectCode, RecordingModel } from './sim-fixture.ts';
import { detach } from './streaming-fixture.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

function newMemory(ranges: readonly IovaRange[] = PC_MEMORY, limit?: number): SimulatedPhysicalMemory {
  const heap = new HeapMemory(limit === undefined ? {} : { limit });
  return new SimulatedPhysicalMemory({
    heap,
    addressSpace: new SimulatedAddressSpace({ ranges, mappingLimit: Infinity }),
  });
}

function pattern(size: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: size }, (_, i) => (i * 7 + 1) & 0xff);
}

describe('physical memory', () => {
  it('is taken from the top, or from the top of what a device reaches', () => {
    const memory = newMemory();
    expect(memory.highest).toBe(20 * GIB - 1);
    expect(memory.addressOf(memory.allocate(PAGE))).toBeGreaterThanOrEqual(4 * GIB);
    for (const bits of [21, 24, 28, 32, 33, 53]) {
      const address = memory.addressOf(memory.allocateBelow(PAGE + 1, 2 ** bits - 1));
      expect(address + 2 * PAGE).toBeLessThanOrEqual(2 ** bits);
      expect(address).toBeGreaterThanOrEqual(bits > 32 ? 4 * GIB : MIB);
    }
  });

  it('has every allocation at a multiple of its size, rounded up to a power of two', () => {
    const memory = newMemory();
    for (const pages of [1, 2, 3, 5, 33, 100, 513]) {
      for (const limit of [2 ** 28 - 1, 2 ** 53 - 1]) {
        const address = memory.addressOf(memory.allocateBelow(pages * PAGE - 5, limit));
        expect(address % (2 ** Math.ceil(Math.log2(pages)) * PAGE)).toBe(0);
      }
    }
  });

  it('is ENOMEM when there is no more of it, and back when it is freed', () => {
    const memory = newMemory([
      { start: 0x1000, end: 0x4fff },
      { start: 0x10000, end: 0x10fff },
    ]);
    expectCode('ENOMEM', () => memory.allocateBelow(PAGE, 0x1ffe));
    expectCode('ENOMEM', () => memory.allocate(5 * PAGE));
    const all = Array.from({ length: 5 }, () => memory.allocate(PAGE));
    expect(all.map((buffer) => memory.addressOf(buffer)).sort((a, b) => a - b)).toEqual([
      0x1000, 0x2000, 0x3000, 0x4000, 0x10000,
    ]);
    expectCode('ENOMEM', () => memory.allocate(1));
    const [one] = all;
    const address = memory.addressOf(one!);
    memory.free(one!);
    expect(one!.byteLength).toBe(0);
    expectCode('EINVAL', () => memory.free(one!));
    expectCode('EINVAL', () => memory.addressOf(one!));
    expect(memory.addressOf(memory.allocate(1))).toBe(address);
  });

  it('gives nothing away when the bytes cannot be had', () => {
    const memory = newMemory([{ start: 0x2000, end: 0x3fff }], PAGE);
    for (let i = 0; i < 10; i++) expectCode('ENOMEM', () => memory.allocate(2 * PAGE));
    for (const size of [0, -1, 1.5, Number.NaN, 2 ** 53]) expectCode('EINVAL', () => memory.allocate(size));
    const buffer = memory.allocate(PAGE);
    memory.free(buffer);
    memory.allocate(PAGE);
  });

  it('keeps the place of a buffer that was taken until close', () => {
    const memory = newMemory([{ start: 0x1000, end: 0x1fff }]);
    const buffer = memory.allocate(8);
    detach(buffer);
    memory.free(buffer);
    expectCode('ENOMEM', () => memory.allocate(8));
    const other = newMemory();
    const view = new Uint8Array(other.allocate(8));
    other.close();
    other.close();
    expect(view.length).toBe(0);
    expectCode('ENODEV', () => other.allocate(8));
  });

  it('is nothing without a page', () => {
    expectCode('EINVAL', () => newMemory([]));
    expectCode('EINVAL', () => newMemory([{ start: 0, end: 0xfff }]));
  });
});

describe('direct operations', () => {
  it('need the mask that covers the highest address, and take any that reaches memory', () => {
    const operations = new DirectOperations(newMemory());
    expect(operations.requiredMask).toBe(dmaBitMask(35));
    expect(operations.supports(MIB + PAGE - 1)).toBe(true);
    expect(operations.supports(MIB + PAGE - 2)).toBe(false);
    expect(
      new DirectOperations(newMemory([{ start: 8 * GIB, end: 9 * GIB - 1 }])).supports(2 ** 32 - 1),
    ).toBe(false);
    for (const bits of [13, 20, 32, 47, 52]) {
      const top = newMemory([{ start: PAGE, end: 2 ** bits - 1 }]);
      expect(new DirectOperations(top).requiredMask).toBe(dmaBitMask(bits));
    }
  });

  it('have no addresses for foreign memory, and merge nothing', () => {
    const operations = new DirectOperations(newMemory());
    expect([operations.mergeBoundary, operations.pinsForeignMemory, operations.granule]).toEqual([
      0,
      false,
      PAGE,
    ]);
    expect(operations.reserve(PAGE, 2 ** 53 - 1)).toBeUndefined();
    expectCode('EOPNOTSUPP', () => operations.map());
  });
});

describe('a device on direct operations', () => {
  const newDevice = (memory = newMemory()): DmaDevice => new DmaDevice({ name: 'test', memory });

  it('is refused a mask below which there is no memory, and nothing changes', () => {
    const device = newDevice(newMemory([{ start: 2 ** 28, end: 2 ** 29 - 1 }]));
    for (const bits of [12, 24, 28]) expectCode('EIO', () => device.setMaskAndCoherent(dmaBitMask(bits)));
    expect([device.mask, device.coherentMask]).toEqual([dmaBitMask(32), dmaBitMask(32)]);
    device.setMaskAndCoherent(dmaBitMask(29));
    expect(device.addressRanges).toEqual([{ start: 2n ** 28n, end: 2n ** 29n - 1n }]);
  });

  it('knows whether its masks leave memory out', () => {
    const device = newDevice();
    expect(device.addressingLimited).toBe(true);
    device.setMask(dmaBitMask(35));
    expect(device.addressingLimited).toBe(false);
  });

  it('has coherent memory and pools under the coherent mask', () => {
    const device = newDevice();
    device.setCoherentMask(dmaBitMask(64));
    expect(device.allocCoherent(100).dmaAddress).toBeGreaterThanOrEqual(4n * BigInt(GIB));
    device.setCoherentMask(dmaBitMask(28));
    for (let i = 0; i < 100; i++) expect(device.allocCoherent(PAGE).dmaAddress >> 28n).toBe(0n);
    const pool = device.createPool('p', { size: 64 });
    expect(pool.alloc()!.dmaAddress >> 28n).toBe(0n);
  });

  it('bounces foreign memory, whatever its size, within the limit of bouncing', () => {
    const device = newDevice();
    for (const size of [1, PAGE, 200_000]) {
      const mapping = device.mapSingle(pattern(size), 'bidirectional');
      expect([mapping.way, mapping.dmaAddress >> 32n]).toEqual(['bounced', 0n]);
      mapping.unmap();
    }
    expectCode('ENOMEM', () => device.mapSingle(new Uint8Array(MIB), 'to-device'));
  });

  it('bounces memory of its own only where the streaming mask does not reach', () => {
    const device = newDevice();
    device.setCoherentMask(dmaBitMask(64));
    const high = device.allocCoherent(PAGE);
    expect(device.mapSingle(high.bytes, 'to-device').way).toBe('bounced');
    device.setMask(dmaBitMask(64));
    const mapping = device.mapSingle(high.bytes.subarray(8), 'to-device');
    expect([mapping.way, mapping.dmaAddress]).toEqual(['arithmetic', high.dmaAddress + 8n]);
  });
});

describe('a simulated machine without an IOMMU', () => {
  let source: SimulatedSource<RecordingModel>;
  let fn: PciFunction;

  beforeEach(async () => {
    source = simulate(new RecordingModel(), { iommu: false });
    fn = await openPci(source);
    fn.setMaster();
    return () => fn.close();
  });

  const read = (address: bigint, size: number): Uint8Array => {
    const into = new Uint8Array(size).fill(0xcc);
    source.model.bus.dmaRead(address, into);
    return into;
  };

  it('carries the bytes of a mapping through a narrow mask, both ways', () => {
    fn.dma.setMask(dmaBitMask(28));
    const data = pattern(5000);
    const mapping = fn.dma.mapSingle(data, 'bidirectional');
    expect(mapping.dmaAddress + 5000n).toBeLessThanOrEqual(2n ** 28n);
    expect(read(mapping.dmaAddress, 5000)).toEqual(data);
    source.model.bus.dmaWrite(mapping.dmaAddress + 10n, Uint8Array.of(1, 2, 3));
    expect([...data.subarray(10, 13)]).toEqual([...pattern(5000).subarray(10, 13)]);
    mapping.unmap();
    expect([...data.subarray(10, 13)]).toEqual([1, 2, 3]);
    expect(source.faults).toEqual([]);
  });

  it('lets a device reach all memory, whoever it belongs to and whatever it was lent for', () => {
    const ring = fn.dma.allocCoherent(64);
    const input = fn.dma.allocNoncoherent(64, 'to-device');
    source.model.bus.dmaWrite(ring.dmaAddress + 63n, Uint8Array.of(9));
    source.model.bus.dmaWrite(input.dmaAddress, Uint8Array.of(9));
    expect([ring.bytes[63], input.bytes[0]]).toEqual([9, 9]);
    expect(source.faults).toEqual([]);
  });

  it('faults where no memory is: freed, never there, between the zones', () => {
    const victim = fn.dma.allocCoherent(PAGE);
    const stale = victim.dmaAddress;
    victim.free();
    for (const address of [stale, 0x1000n, 0xc000_0000n, 2n ** 40n, 2n ** 63n]) {
      expect(read(address, 8)).toEqual(new Uint8Array(8));
      expect(source.faults.at(-1)).toEqual({ address, size: 8, access: 'read', reason: 'no memory there' });
    }
  });

  it('hands a stale address to the next owner of the memory, as machines without an IOMMU do', () => {
    const victim = fn.dma.allocCoherent(PAGE);
    const stale = victim.dmaAddress;
    victim.free();
    const next = fn.dma.allocCoherent(PAGE);
    expect(next.dmaAddress).toBe(stale);
    source.model.bus.dmaWrite(stale, Uint8Array.of(9));
    expect(next.bytes[0]).toBe(9);
  });

  it('has memory where it was told to', async () => {
    const ranges = [{ start: 0x80_0000, end: 0xff_ffff }];
    using small = await openPci(simulate(new RecordingModel(), { iommu: false, ranges, pageSize: 16384 }));
    expect(small.dma.requiredMask).toBe(dmaBitMask(24));
    expect(small.dma.allocCoherent(1).dmaAddress).toBe(0xff_c000n);
    expectCode('ENOMEM', () => small.dma.allocCoherent(9 * MIB));
  });

  it('is left with nothing the device reaches after close', async () => {
    const { dmaAddress } = fn.dma.allocCoherent(PAGE);
    fn.close();
    fn = await openPci(source);
    fn.setMaster();
    expect(read(dmaAddress, 4)).toEqual(new Uint8Array(4));
    expect(source.faults).toHaveLength(1);
  });
});
