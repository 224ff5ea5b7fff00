/**
 * What limits and masks promise (kernel/dma/mapping.c): any memory as long as a limit says maps, and under a mask that was
 * accepted something always does.
 */
import { type DmaDevice, DmaError, dmaBitMask } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { DIRECTIONS, PAGE, pattern, refused, sameBytes } from './bytes.ts';
import { type World, worlds } from './worlds.ts';

/** The narrowest mask that is accepted, in bits. */
function narrowest(dma: DmaDevice): number {
  let bits = 1;
  while (!dma.supported(dmaBitMask(bits))) bits++;
  return bits;
}

function widths(world: World, dma: DmaDevice): number[] {
  const first = narrowest(dma);
  const most = world.simulated ? 64 : 28;
  return Array.from({ length: most - first + 1 }, (_, i) => first + i);
}

/** Coherent pages until there are no more. */
function fill(dma: DmaDevice): { free(): void }[] {
  const pages: { free(): void }[] = [];
  for (;;) {
    try {
      pages.push(dma.allocCoherent(PAGE));
    } catch (error) {
      assert.ok(error instanceof DmaError && error.code === 'ENOMEM', String(error));
      return pages;
    }
  }
}

for (const world of worlds) {
  describe(`limits: ${world.name}`, () => {
    it('under each mask that is accepted memory maps, and what it took can be had for something else', async () => {
      using open = await world.open();
      const { dma } = open;
      for (const bits of widths(world, dma)) {
        dma.setMaskAndCoherent(dmaBitMask(bits));
        for (const direction of DIRECTIONS) {
          using mapping = dma.mapSingle(new Uint8Array(100).fill(bits), direction);
          assert.ok(mapping.dmaAddress + 100n <= 2n ** BigInt(bits), `${bits} bits`);
          assert.ok((await open.read(mapping.dmaAddress, 1)).length === 1);
        }
        // Strictly bounced, two are two pages, and there may be one.
        const views = [new Uint8Array(100), ...(world.strict ? [] : [new Uint8Array(50)])];
        using list = dma.mapSg(views, 'to-device');
        assert.ok(list.segments.every(({ dmaAddress }) => dmaAddress < 2n ** BigInt(bits)));
        list.unmap();
        const ring = dma.allocCoherent(PAGE);
        assert.ok(ring.dmaAddress + BigInt(PAGE) <= 2n ** BigInt(bits), `ring, ${bits} bits`);
        ring.free();
      }
    });

    it('memory that no mask of 32 bits reaches is ENOMEM, or null, and nothing is left of it', async () => {
      using open = await world.open();
      const { dma } = open;
      dma.setMaskAndCoherent(dmaBitMask(Math.min(32, world.requiredBits)));
      const before = dma.live.length;
      for (const size of [2 ** 32 + PAGE, 2 ** 33, 2 ** 40]) {
        refused(dma, 'ENOMEM', `coherent, ${size}`, () => dma.allocCoherent(size));
        refused(dma, 'ENOMEM', `noncoherent, ${size}`, () => dma.allocNoncoherent(size, 'from-device'));
        refused(dma, 'ENOMEM', `noncontiguous, ${size}`, () => dma.allocNoncontiguous(size, 'from-device'));
      }
      for (const size of [2 ** 32, 2 ** 33]) {
        let block: unknown = null;
        try {
          block = dma.createPool('huge', { size, align: PAGE }).alloc();
        } catch (error) {
          assert.ok(error instanceof DmaError, String(error));
          assert.ok(['ENOMEM', 'EINVAL'].includes(error.code), String(error));
        }
        assert.equal(block, null, `a block of ${size}`);
      }
      assert.equal(dma.live.length, before);
    });

    it('beside rings, memory maps as long as one page under the mask is free', async () => {
      using open = await world.open();
      const { dma } = open;
      dma.setMaskAndCoherent(dmaBitMask(Math.max(narrowest(dma), 18)));
      const rings = fill(dma);
      refused(dma, 'ENOMEM', 'no page', () => dma.mapSingle(new Uint8Array(100), 'to-device'));
      rings.pop()!.free();
      const bytes = pattern(100, 1);
      using mapping = dma.mapSingle(bytes, 'bidirectional');
      sameBytes(await open.read(mapping.dmaAddress, 100), bytes, 'the device');
      await open.write(mapping.dmaAddress, pattern(100, 2));
      mapping.unmap();
      sameBytes(bytes, pattern(100, 2), 'the CPU');
    });

    it('each is reached by any memory of that size, wherever it starts, and never by much more', async () => {
      using open = await world.open();
      const { dma } = open;
      const { limits } = dma;
      for (const bits of [narrowest(dma), narrowest(dma) + 1, 18, 22, 24]) {
        if (bits < narrowest(dma)) continue;
        dma.setMaskAndCoherent(dmaBitMask(bits));
        for (const [dmaAlignment, minAlignMask, segmentBoundary] of [
          [0, 0, 0xffff_ffff],
          [511, 0, 0xffff_ffff],
          [0, 4095, 0xffff_ffff],
          [0, 0, 4095],
          [3, 511, 0xffff],
        ] as const) {
          Object.assign(limits, { dmaAlignment, minAlignMask, segmentBoundary });
          const { maxMappingSize, maxBounceSize } = limits;
          const what = `${bits} bits, ${dmaAlignment}, ${minAlignMask}, ${segmentBoundary}`;
          assert.ok(maxMappingSize >= 1 && maxMappingSize >= maxBounceSize && maxBounceSize >= 1, what);
          for (const size of new Set([maxMappingSize, maxBounceSize])) {
            const memory = new Uint8Array(size + PAGE);
            for (const at of [0, 1, 16, 2048, 4080, PAGE - 1]) {
              dma.mapSingle(memory.subarray(at, at + size), 'bidirectional').unmap();
              dma.mapSg([memory.subarray(at, at + size)], 'bidirectional').unmap();
            }
          }
          assert.throws(
            () => dma.mapSingle(new Uint8Array(limits.maxAlignedMappingSize * 4 + 4 * PAGE), 'to-device'),
            what,
          );
        }
      }
      assert.equal(dma.bounceStats.usedSlots, 0);
    });

    it('a single mapping need not keep to the segment boundary behind an IOMMU', async () => {
      using open = await world.open();
      const { dma } = open;
      dma.limits.segmentBoundary = PAGE - 1;
      for (const size of [PAGE, PAGE + 1, 2 * PAGE, 32_767, 32_768, 65_536]) {
        const bytes = pattern(size, 3);
        if (!world.translated && size > PAGE) {
          assert.equal(dma.limits.maxMappingSize, PAGE);
          refused(dma, 'ENOMEM', `${size} bytes`, () => dma.mapSingle(bytes, 'to-device'));
          continue;
        }
        using mapping = dma.mapSingle(bytes, 'to-device');
        using list = dma.mapSg([bytes], 'to-device');
        assert.equal(list.segments.length, 1);
        const last = await open.read(mapping.dmaAddress + BigInt(size - 100), 100);
        sameBytes(last, bytes.subarray(-100), `${size} bytes`);
        dma.debug?.clear();
      }
    });

    it('low bits that minAlignMask names may lie beyond a boundary: without an IOMMU no mapping crosses one', async () => {
      if (world.translated) return;
      using open = await world.open();
      const { dma } = open;
      Object.assign(dma.limits, { minAlignMask: 4 * PAGE - 1, segmentBoundary: 2 * PAGE - 1 });
      const memory = pattern(4 * PAGE, 5);
      const page = [2 * PAGE + 128, 3 * PAGE - 128] as const;
      using mapping = dma.mapSingle(memory.subarray(...page), 'to-device');
      const { dmaAddress, size } = mapping;
      const part = (address: bigint) => address / BigInt(2 * PAGE);
      assert.equal(part(dmaAddress), part(dmaAddress + BigInt(size - 1)));
      sameBytes(await open.read(dmaAddress, size), memory.subarray(...page), 'the second part');
      const across = memory.subarray(PAGE + 128, 2 * PAGE + 256);
      refused(dma, 'ENOMEM', 'across', () => dma.mapSingle(across, 'to-device'));
    });

    it('the low bits that minAlignMask names are those of the memory, above a page too without an IOMMU', async () => {
      using open = await world.open();
      const { dma } = open;
      const most = world.translated ? PAGE - 1 : 4 * PAGE - 1;
      dma.limits.minAlignMask = most;
      if (world.translated) {
        assert.throws(() => Object.assign(dma.limits, { minAlignMask: 2 * PAGE - 1 }), { code: 'EINVAL' });
      }
      const foreign = new Uint8Array(4 * PAGE);
      using first = dma.mapSingle(foreign.subarray(0, 100), 'to-device');
      for (const at of [1, 500, PAGE - 100, 2 * PAGE + 7]) {
        using mapping = dma.mapSingle(foreign.subarray(at, at + 200), 'to-device');
        assert.equal((mapping.low - first.low) & most, at & most, `${at}`);
      }
      if (!world.forced) return;
      const own = dma.allocCoherent(4 * PAGE);
      using mapping = dma.mapSingle(own.bytes.subarray(5000, 6000), 'to-device');
      assert.equal(mapping.low & most, (own.low + 5000) & most);
    });

    it('memory of its own maps whatever it was allocated for and wherever it lies', async () => {
      using open = await world.open();
      const { dma } = open;
      const out = dma.allocNoncoherent(2 ** 20, 'to-device');
      if (!world.translated || world.forced) {
        assert.equal(dma.limits.maxMappingSize, 256 * 1024);
        return;
      }
      using mapping = dma.mapSingle(out.bytes, 'from-device');
      await open.write(mapping.dmaAddress + 2n ** 20n - 50n, pattern(50, 1));
      mapping.unmap();
      sameBytes(out.bytes.subarray(-50), pattern(50, 1), 'the end');
    });
  });
}
