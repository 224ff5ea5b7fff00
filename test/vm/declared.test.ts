/** Declared memory that an IOMMU leads to: a memfd of somebody else, and the registers of another function. */
import { Edu } from '../../examples/edu/driver.ts';
import { openPci, type PciFunction } from '../../lib/index.ts';
import { MemfdMemory } from '../../lib/memory/memfd.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { PAGE } from '../page.ts';
import { device, refuses } from './devices.ts';

const SIZE = 8 * PAGE;
/** Where the DMA engine sees the device's own memory. */
const DEVICE_MEMORY = 0x40000n;
const FROM_DEVICE = 2;

describe('declared memory behind an IOMMU', () => {
  let fn: PciFunction;
  let edu: Edu;

  beforeEach(async () => {
    fn = await openPci(device('USERDMA_TEST_EDU'));
    edu = new Edu(fn);
  });
  afterEach(() => edu.close());

  it('comes from a source of its own, linked where it is declared', async () => {
    const memory = new MemfdMemory();
    const arena = new Uint8Array(memory.allocate(SIZE)).fill(0xee);
    const state = fn.dma.reserveIova(SIZE)!;
    state.link(0, arena, 'bidirectional');
    state.sync();
    fn.dma.declareCoherentMemory(arena, state.dmaAddress, SIZE);
    fn.dma.allocCoherent(PAGE);
    const buffer = fn.dma.allocCoherent(PAGE);
    assert.equal(buffer.dmaAddress, state.dmaAddress + BigInt(PAGE));
    assert.ok(buffer.bytes.every((byte) => byte === 0));
    buffer.bytes.set([1, 2, 3, 4, 5, 6, 7, 8]);
    await edu.transfer(buffer.dmaAddress, DEVICE_MEMORY, 8, 0);
    await edu.transfer(DEVICE_MEMORY, buffer.dmaAddress + 100n, 8, FROM_DEVICE);
    assert.deepEqual(buffer.bytes.subarray(100, 108), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    assert.deepEqual(arena.subarray(PAGE, PAGE + 8), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    const block = fn.dma.createPool('declared', { size: 64 }).alloc()!;
    await edu.transfer(DEVICE_MEMORY, block.dmaAddress, 8, FROM_DEVICE);
    assert.equal(block.load32(4), 0x08070605);
    refuses(() => fn.dma.allocCoherent(SIZE), 'ENOMEM', 'exclusive: false');
    fn.dma.releaseDeclaredMemory();
    refuses(() => buffer.dmaAddress, 'EINVAL');
    state.destroy();
    memory.close();
  });

  it('is a BAR of another function, by accesses', async () => {
    using peer = await openPci(device('USERDMA_TEST_EDU_WIDE'));
    const bar = peer.bar(0);
    const mapping = fn.dma.mapResource(bar, 0, PAGE, 'bidirectional');
    fn.dma.declareCoherentMemory({ bar, offset: 0 }, mapping.dmaAddress, PAGE);
    refuses(() => fn.dma.allocCoherent(4), 'EOPNOTSUPP', 'allocCoherentIo');
    // Its registers are not memory: allocating would write zeros to them.
    const io = fn.dma.markDeclaredIoOccupied(mapping.dmaAddress, 8);
    assert.equal(io.read32(0), 0x0100_00ed);
    io.write32(4, 0x1234_5678);
    assert.equal(bar.read32(4), ~0x1234_5678 >>> 0);
    await edu.transfer(io.dmaAddress + 4n, DEVICE_MEMORY, 4, 0);
    assert.deepEqual(await edu.read(4), Uint8Array.of(0x87, 0xa9, 0xcb, 0xed));
    refuses(() => io.read32(8), 'EINVAL');
    io.free();
    mapping.unmap();
  });
});
