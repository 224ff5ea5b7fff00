/** Masks and limits (kernel/dma/mapping.c, drivers/iommu/dma-iommu.c): what is taken, what is refused, what follows. */
import { type DmaDevice, dmaBitMask } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { PAGE, refused } from './bytes.ts';
import { worlds } from './worlds.ts';

const setters = ['setMask', 'setCoherentMask', 'setMaskAndCoherent'] as const;

function last(address: bigint, size: number): bigint {
  return address + BigInt(size) - 1n;
}

for (const world of worlds) {
  describe(`masks and limits: ${world.name}`, () => {
    it('are 32 bits until set, and required are as many as there is to reach', async () => {
      using fn = await world.openFunction();
      const { dma } = fn;
      assert.equal(dma.mask, 0xffff_ffffn);
      assert.equal(dma.coherentMask, 0xffff_ffffn);
      // dma_get_required_mask: 32 bits with an IOMMU, else what covers the highest address of memory.
      const required = world.requiredBits;
      assert.equal(dma.requiredMask, dmaBitMask(required));
      for (const bits of [24, 31, 32, 33, 34, 35, 36, 64]) {
        dma.setMask(dmaBitMask(bits));
        assert.equal(dma.addressingLimited, bits < required, `${bits} bits`);
        assert.equal(dma.requiredMask, dmaBitMask(required));
      }
    });

    it('are supported when a page fits below, asking changes nothing, and 64 bits never fail', async () => {
      using fn = await world.openFunction();
      const { dma } = fn;
      const lowest = Number(dma.addressRanges[0]!.start);
      // Neither page 0 nor a part of a page is ever handed out.
      const needed = BigInt(Math.max(lowest, PAGE) + PAGE - 1);
      for (let bits = 1; bits <= 64; bits++) {
        assert.equal(dma.supported(dmaBitMask(bits)), dmaBitMask(bits) >= needed, `${bits} bits`);
      }
      assert.equal(dma.mask, 0xffff_ffffn);
      dma.setMaskAndCoherent(dmaBitMask(64));
    });

    it('of more than 32 bits never fail, and coherent memory may have the same mask or a narrower one', async () => {
      using fn = await world.openFunction();
      const { dma } = fn;
      for (let bits = 33; bits <= 64; bits++) {
        for (const set of setters) dma[set](dmaBitMask(bits));
        assert.deepEqual([dma.mask, dma.coherentMask], [dmaBitMask(bits), dmaBitMask(bits)]);
      }
      for (let bits = 1; bits <= 64; bits++) {
        if (!dma.supported(dmaBitMask(bits))) continue;
        dma.setMask(dmaBitMask(bits));
        dma.setCoherentMask(dmaBitMask(bits));
        // A narrower mask is refused only where no page at all lies below it.
        for (let narrower = 1; narrower < bits; narrower++) {
          if (dma.supported(dmaBitMask(narrower))) dma.setCoherentMask(dmaBitMask(narrower));
          else refused(dma, 'EIO', `${narrower} bits`, () => dma.setCoherentMask(dmaBitMask(narrower)));
        }
        assert.equal(dma.mask, dmaBitMask(bits));
      }
    });

    for (const set of setters) {
      it(`${set}: EIO when nothing fits, EINVAL for what is no mask, and all stays as it was`, async () => {
        using fn = await world.openFunction();
        const { dma } = fn;
        dma[set](dmaBitMask(30));
        const streaming = set === 'setCoherentMask' ? 32 : 30;
        assert.equal(dma.mask, dmaBitMask(streaming));
        assert.equal(dma.coherentMask, dmaBitMask(set === 'setMask' ? 32 : 30));
        refused(dma, 'EIO', 'a mask of 12 bits', () => dma[set](dmaBitMask(12)));
        for (const mask of [0n, -1n, 0xff0n, 2n ** 64n, 2n ** 65n - 1n, 0xffff_fffen]) {
          refused(dma, 'EINVAL', String(mask), () => dma[set](mask));
        }
        for (const mask of [0xffff_ffff, undefined, null, '0xff', {}]) {
          refused(dma, 'EINVAL', String(mask), () => dma[set](mask as bigint));
        }
      });
    }

    it('are ceilings: of coherent memory one, of mappings the other', async () => {
      using open = await world.open();
      const { dma } = open;
      const before = dma.allocCoherent(PAGE);
      for (const bits of [32, 28, 26, 24]) {
        if (bits > world.coherentBits) continue;
        dma.setMaskAndCoherent(dmaBitMask(bits));
        const buffer = dma.allocCoherent(3 * PAGE);
        assert.ok(last(buffer.dmaAddress, 3 * PAGE) <= dmaBitMask(bits), `coherent, ${bits} bits`);
        using mapping = dma.mapSingle(new Uint8Array(100), 'to-device');
        assert.ok(last(mapping.dmaAddress, 100) <= dmaBitMask(bits), `bounced, ${bits} bits`);
        using own = dma.mapSingle(before.bytes, 'bidirectional');
        assert.ok(last(own.dmaAddress, PAGE) <= dmaBitMask(bits), `own memory, ${bits} bits`);
        if (world.translated && !world.forced) {
          using long = dma.mapSingle(new Uint8Array(200_000), 'to-device');
          assert.ok(last(long.dmaAddress, 200_000) <= dmaBitMask(bits), `long, ${bits} bits`);
        }
        using list = dma.mapSg([before.bytes, new Uint8Array(100), new Uint8Array(5000)], 'to-device');
        for (const { dmaAddress, length } of list.segments) {
          assert.ok(last(dmaAddress, length) <= dmaBitMask(bits), `list, ${bits} bits`);
        }
        buffer.free();
      }
    });

    it('do not touch what is mapped, and open again what they closed', async () => {
      using open = await world.open();
      const { dma } = open;
      const bytes = new Uint8Array(1000).fill(1);
      const mapping = dma.mapSingle(bytes, 'from-device');
      const address = mapping.dmaAddress;
      dma.setMask(dmaBitMask(24));
      assert.equal(mapping.dmaAddress, address);
      await open.write(address, new Uint8Array(1000).fill(2));
      using low = dma.mapSingle(new Uint8Array(1000), 'to-device');
      assert.ok(low.dmaAddress < 2n ** 24n);
      mapping.unmap();
      assert.ok(bytes.every((byte) => byte === 2));
      dma.setMask(dmaBitMask(world.streamingBits));
      const { backedSlots } = dma.bounceStats;
      const held = Array.from({ length: 100 }, () => dma.mapSingle(new Uint8Array(30_000), 'to-device'));
      assert.equal(dma.bounceStats.backedSlots, backedSlots, 'both chunks are used');
      assert.ok(held.some(({ dmaAddress }) => dmaAddress >= 2n ** 24n));
      for (const one of held) one.unmap();
    });

    it('hand out naturally aligned, zeroed memory, in a window, never page 0', async () => {
      using open = await world.open();
      const { dma } = open;
      for (const size of [1, 100, PAGE, PAGE + 1, 3 * PAGE, 5 * PAGE, 65_536, 65_537]) {
        for (let round = 0; round < 3; round++) {
          const buffer = dma.allocCoherent(size);
          assert.equal(buffer.bytes.length, size);
          assert.equal(buffer.buffer.byteLength, size);
          assert.ok(
            buffer.bytes.every((byte) => byte === 0),
            `${size} bytes are zero`,
          );
          const pages = 2 ** Math.ceil(Math.log2(Math.ceil(size / PAGE)));
          assert.equal(buffer.dmaAddress % BigInt(pages * PAGE), 0n, `${size} bytes aligned`);
          assert.ok(buffer.dmaAddress >= BigInt(PAGE));
          const within = dma.addressRanges.some(
            ({ start, end }) => buffer.dmaAddress >= start && last(buffer.dmaAddress, size) <= end,
          );
          assert.ok(within, 'in a window');
          assert.equal(BigInt(buffer.high) * 2n ** 32n + BigInt(buffer.low), buffer.dmaAddress);
          assert.equal(
            dma.addressOf(buffer.bytes.subarray(size >> 1)),
            buffer.dmaAddress + BigInt(size >> 1),
          );
          buffer.bytes.fill(0xee);
          buffer.free();
          assert.equal(buffer.bytes.length, 0);
        }
      }
    });

    it('have the limits of a PCI function', async () => {
      using fn = await world.openFunction();
      const { limits } = fn.dma;
      const pins = world.translated && !world.forced;
      assert.equal(limits.maxSegmentSize, 65_536);
      assert.equal(limits.segmentBoundary, 0xffff_ffff);
      assert.equal(limits.minAlignMask, 0);
      assert.equal(limits.dmaAlignment, 0);
      assert.equal(limits.maxBounceSize, 256 * 1024);
      assert.equal(limits.mergeBoundary, world.translated ? PAGE - 1 : 0);
      assert.equal(limits.cacheAlignment, world.coherent ? 1 : 64);
      if (!pins) assert.equal(limits.maxMappingSize, 256 * 1024);
      else assert.ok(limits.maxMappingSize >= 2 ** 28, String(limits.maxMappingSize));
      const optimal = world.translated ? 32 * PAGE : limits.maxMappingSize;
      assert.equal(limits.optMappingSize, Math.min(optimal, limits.maxMappingSize));
    });

    it('refuse limits that are none', async () => {
      using fn = await world.openFunction();
      const { dma } = fn;
      const bad = [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, '1' as unknown as number];
      for (const value of [0, ...bad]) {
        refused(dma, 'EINVAL', `max segment ${value}`, () => setLimit(dma, 'maxSegmentSize', value));
      }
      for (const value of [0, 2, 6, 4096, ...bad]) {
        refused(dma, 'EINVAL', `boundary ${value}`, () => setLimit(dma, 'segmentBoundary', value));
      }
      for (const value of [2, 4096, ...(world.translated ? [2 * PAGE - 1] : []), ...bad]) {
        refused(dma, 'EINVAL', `align mask ${value}`, () => setLimit(dma, 'minAlignMask', value));
      }
      for (const value of [2, 2048, 4095, ...bad]) {
        refused(dma, 'EINVAL', `alignment ${value}`, () => setLimit(dma, 'dmaAlignment', value));
      }
    });
  });
}

function setLimit(
  { limits }: DmaDevice,
  name: 'maxSegmentSize' | 'segmentBoundary' | 'minAlignMask' | 'dmaAlignment',
  value: number,
): void {
  limits[name] = value;
}
