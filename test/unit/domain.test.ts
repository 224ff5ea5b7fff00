/** One IOMMU domain, several devices: what closing one of them takes back. */
import { describe, expect, it } from 'vitest';
import { DmaDevice } from '../../lib/dma/device.ts';
import { IommuDomain } from '../../lib/dma/operations/domain.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { expectCode } from './sim-fixture.ts';

function newDomain() {
  const space = new SimulatedAddressSpace();
  const memory = new HeapMemory();
  const domain = new IommuDomain(space, memory);
  const used = () => ({ ...space.stats, addresses: domain.iova.used, memory: memory.used });
  return { space, memory, domain, used };
}

/** Something of every kind. */
function use(dma: DmaDevice): void {
  dma.allocCoherent(5000);
  dma.allocNoncoherent(5000, 'to-device');
  dma.allocNoncontiguous(100_000, 'bidirectional');
  dma.createPool('blocks', { size: 100, blocks: 200 }).alloc();
  dma.mapSingle(new Uint8Array(100_000), 'to-device');
  dma.mapSingle(new Uint8Array(10), 'from-device');
  dma.mapSg([new Uint8Array(100_000), new Uint8Array(10)], 'bidirectional');
  dma.reserveIova(20_000)!.link(0, dma.allocCoherent(4096).bytes, 'to-device');
}

describe('a device in a domain', () => {
  it('takes back all it was given when it is closed, and nothing else', () => {
    const { domain, used } = newDomain();
    const stays = new DmaDevice({ name: 'stays', domain });
    use(stays);
    const before = used();
    const goes = new DmaDevice({ name: 'goes', domain });
    const ring = goes.allocCoherent(4096);
    use(goes);
    expect(used().memory).toBeGreaterThan(before.memory);
    const { bytes, dmaAddress } = ring;
    expect(stays.addressOf(bytes)).toBe(dmaAddress);
    goes.close();
    goes.close();
    expect(used()).toEqual(before);
    expect(bytes.length).toBe(0);
    expectCode('EINVAL', () => stays.addressOf(bytes));
    expect(domain.own.regionAt(Number(dmaAddress))).toBeUndefined();
    expectCode('ENODEV', () => goes.allocCoherent(64));
    stays.allocCoherent(64).free();
    stays.close();
    expect([domain.closed, used().mappings, used().memory]).toEqual([true, 0, 0]);
    expectCode('ENODEV', () => new DmaDevice({ name: 'late', domain }));
  });

  it('is not in it when it cannot be made', () => {
    const { domain } = newDomain();
    expectCode('EINVAL', () => new DmaDevice({ name: 'wrong', domain, copybreak: -1 }));
    expect(domain.devices).toEqual([]);
    expect(domain.closed).toBe(false);
  });

  it('gives back what it has after it is gone', () => {
    const { domain, used } = newDomain();
    const stays = new DmaDevice({ name: 'stays', domain });
    const before = used();
    const goes = new DmaDevice({ name: 'goes', domain });
    const ring = goes.allocCoherent(4096);
    const mapping = goes.mapSingle(new Uint8Array(100_000), 'to-device');
    const range = goes.reserveIova(8192)!;
    range.link(0, ring.bytes, 'to-device');
    goes.abandon(new Error('gone') as never);
    expect(() => range.link(4096, ring.bytes, 'to-device')).toThrow('gone');
    mapping.unmap();
    range.unlink(0, 4096);
    range.free();
    ring.free();
    stays.allocCoherent(64).free();
    // Its bounce buffer is all that is left.
    expect(used().memory).toBe(goes.bounceStats.backedSlots * goes.bounceStats.slotSize);
    goes.close();
    expect(used()).toEqual(before);
    stays.close();
  });
});
