/** Memory longer than a typed array can be: ENOMEM where it is allocated, and no bar to mapping a part of it. */
import { constants } from 'node:buffer';
import { expect, it } from 'vitest';
import { DmaDevice } from '../../lib/dma/device.ts';
import { DmaError, dmaBitMask } from '../../lib/index.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { MemfdMemory } from '../../lib/memory/memfd.ts';
import type { MemorySource } from '../../lib/memory/source.ts';
import { describeNative } from '../native/support.ts';

const GiB = 2 ** 30;
const PAGE = 4096;
/** On Node.js 20 none of these is possible; on later ones only the machine's memory says so. */
const LONG = [4 * GiB + PAGE, 4.5 * GiB, 2 ** 33, 16 * GiB];

function wideDevice(memory: MemorySource): DmaDevice {
  const dma = new DmaDevice({ name: 'wide', memory, addressSpace: new SimulatedAddressSpace() });
  dma.setMaskAndCoherent(dmaBitMask(64));
  return dma;
}

/** Freed again, or ENOMEM and nothing else. */
function triedAndFreed(allocate: () => { free(): void }): string {
  try {
    allocate().free();
    return 'had';
  } catch (error) {
    return error instanceof DmaError ? error.code : String(error);
  }
}

function refusesLong(memory: MemorySource): void {
  if (constants.MAX_LENGTH > 16 * GiB) return;
  const dma = wideDevice(memory);
  for (const size of LONG) {
    expect(triedAndFreed(() => dma.allocCoherent(size))).toBe('ENOMEM');
    expect(triedAndFreed(() => dma.allocNoncoherent(size, 'bidirectional'))).toBe('ENOMEM');
    expect(triedAndFreed(() => dma.allocPages(size, 'from-device'))).toBe('ENOMEM');
  }
  expect(dma.live).toEqual([]);
  dma.close();
}

it('memory of heap that no typed array can cover is ENOMEM, and nothing is kept', () => {
  refusesLong(new HeapMemory());
});

describeNative('memory of memfd', () => {
  it('that no typed array can cover is ENOMEM, and nothing is kept', () => refusesLong(new MemfdMemory()));
});

it('a part of a buffer that is longer than a typed array is mapped, and the device sees it', () => {
  const space = new SimulatedAddressSpace();
  const dma = new DmaDevice({ name: 'part', memory: new HeapMemory(), addressSpace: space });
  // Not backed by memory until it is touched.
  const part = new Uint8Array(new ArrayBuffer(4 * GiB + 16 * PAGE), 4 * GiB, 8 * PAGE);
  part.fill(7);
  const [single, list] = [dma.mapSingle(part, 'to-device'), dma.mapSg([part], 'to-device')];
  expect([single.way, list.way]).toEqual(['pinned', 'pinned']);
  for (const address of [single.dmaAddress, list.segments[0]!.dmaAddress]) {
    const seen = new Uint8Array(part.length);
    expect(space.read(address, seen)).toBe(true);
    expect(Buffer.compare(seen, part)).toBe(0);
  }
  single.unmap();
  list.unmap();
  dma.declareCoherentMemory(part.buffer, 0x1000_0000n, PAGE);
  expect(dma.allocCoherent(64).dmaAddress).toBe(0x1000_0000n);
  dma.close();
});

it('a DataView that is longer than a typed array is refused', () => {
  if (constants.MAX_LENGTH > 16 * GiB) return;
  const dma = wideDevice(new HeapMemory());
  const view = new DataView(new ArrayBuffer(4 * GiB + PAGE));
  expect(() => dma.mapSingle(view, 'to-device')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  expect(() => dma.mapSg([view], 'to-device')).toThrow(DmaError);
  dma.close();
});
