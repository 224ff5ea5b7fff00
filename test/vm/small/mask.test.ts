/** A device that reaches only part of the memory of a machine without an IOMMU: the mask is honoured. */
import { dmaBitMask, openPciUnsafe, type PciFunction, PhysicalHugepages } from '../../../lib/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../../harness.ts';
import { device, refuses } from '../devices.ts';
import { EduParts } from '../edu-parts.ts';
import { bind, reserveHugepages } from '../uio.ts';

const HUGE = 2 ** 21;
const MASK = dmaBitMask(28);
const BOUNDARY = 2 ** 28;

const pattern = (size: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => (i * 11 + seed) % 251);

/** Huge pages on both sides of what 28 bits reach, all of them free. */
function bothSides(): PhysicalHugepages {
  const memory = new PhysicalHugepages({ below: MASK });
  const taken: ArrayBuffer[] = [];
  while (memory.highest < BOUNDARY) taken.push(memory.allocate(HUGE));
  for (const buffer of taken) memory.free(buffer);
  return memory;
}

describe('a device of 28 address bits', () => {
  const address = device('USERDMA_TEST_EDU');
  let fn: PciFunction;
  let edu: EduParts;

  beforeEach(async () => {
    const pages = reserveHugepages(100);
    assert.ok(pages > 20, `${pages} huge pages`);
    bind(address, 'uio_pci_generic');
    fn = await openPciUnsafe(address, { memory: bothSides() });
    fn.setMaster();
    edu = new EduParts({ registers: fn.bar(0), interrupt: fn.interrupts.intx(), dma: fn.dma });
  });
  afterEach(() => {
    fn.close();
    bind(address, undefined);
    reserveHugepages(0);
  });

  it('is given memory below its mask, bounces what is above, and gets every byte right', async () => {
    const above = fn.dma.allocNoncoherent(4096, 'bidirectional');
    assert.ok(above.dmaAddress >= BigInt(BOUNDARY), `0x${above.dmaAddress.toString(16)}`);
    assert.ok(fn.dma.requiredMask > MASK);
    fn.dma.setMaskAndCoherent(MASK);
    assert.equal(fn.dma.addressingLimited, true);

    const page = fn.dma.allocCoherent(4096);
    assert.ok(page.dmaAddress + 4095n <= MASK);
    page.bytes.set(pattern(3000, 1));
    await edu.fetch(page.dmaAddress, 3000);

    above.bytes.set(pattern(4000, 2));
    {
      using there = fn.dma.mapSingle(above.bytes, 'to-device');
      assert.equal(there.way, 'bounced');
      assert.ok(there.dmaAddress + BigInt(there.size) - 1n <= MASK);
      await edu.fetch(there.dmaAddress, 4000);
    }
    above.bytes.fill(0);
    {
      using back = fn.dma.mapSingle(above.bytes, 'from-device');
      assert.equal(back.way, 'bounced');
      await edu.store(back.dmaAddress, 4000);
    }
    assert.deepEqual(above.bytes.slice(0, 4000), pattern(4000, 2));

    const foreign = pattern(1234, 3);
    assert.deepEqual(await edu.echo(foreign), foreign);
  });

  it('would read elsewhere if it were told an address above its mask', async () => {
    const above = fn.dma.allocNoncoherent(4096, 'to-device');
    const page = fn.dma.allocCoherent(4096);
    above.bytes.set(pattern(4000, 4));
    assert.ok(above.dmaAddress >= BigInt(BOUNDARY));
    fn.dma.setCoherentMask(MASK);
    const low = fn.dma.allocCoherent(4096);
    assert.ok(page.dmaAddress >= BigInt(BOUNDARY) && low.dmaAddress <= MASK);
    await edu.fetch(above.dmaAddress, 4000);
    await edu.store(low.dmaAddress, 4000);
    assert.notDeepEqual(low.bytes.slice(0, 4000), pattern(4000, 4));
  });

  it('is refused a mask below which there is no memory of its own', () => {
    refuses(() => fn.dma.setMask(dmaBitMask(12)), 'EIO');
    refuses(
      () => new PhysicalHugepages({ below: dmaBitMask(20) }),
      'ENOMEM',
      'at or below address 0xfffff',
      'too high',
    );
  });
});
