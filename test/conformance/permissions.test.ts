/** What the device may not do, and what it must not see: page permissions, edges, and what is unmapped. */
import { assert, describe, it } from '../harness.ts';
import { foreignPages, PAGE, pattern, sameBytes } from './bytes.ts';
import { COPYBREAK, worlds } from './worlds.ts';

const LONG = COPYBREAK + 3000;

for (const world of worlds) {
  const pins = world.translated && !world.forced;

  describe(`permissions: ${world.name}`, () => {
    it("a device that writes to a to-device mapping changes nothing of the caller's", async () => {
      using open = await world.open();
      const { dma } = open;
      for (const size of [500, LONG]) {
        const buffer = pattern(size + 200, 1);
        const before = Uint8Array.from(buffer);
        const mapping = dma.mapSingle(buffer.subarray(100, 100 + size), 'to-device');
        const faults = open.faults.length;
        await open.write(mapping.dmaAddress, new Uint8Array(500).fill(0xee));
        await open.write(mapping.dmaAddress + BigInt(size - 400), new Uint8Array(400).fill(0xee));
        if (size === LONG) await open.write(mapping.dmaAddress + 8000n, new Uint8Array(1000).fill(0xee));
        if (pins && world.simulated && size === LONG) assert.ok(open.faults.length > faults, 'faults');
        sameBytes(buffer, before, `${size} bytes, mapped`);
        mapping.unmap();
        sameBytes(buffer, before, `${size} bytes, unmapped`);
      }
    });

    it('nor does one that writes to whole pages in place', async () => {
      if (!pins) return;
      using open = await world.open();
      const pages = foreignPages(open.dma, 9);
      pages.set(pattern(pages.length, 1));
      using mapping = open.dma.mapSingle(pages, 'to-device');
      if (world.simulated) assert.equal(mapping.way, 'pinned');
      for (const at of [0n, 4096n, 36_764n]) await open.write(mapping.dmaAddress + at, new Uint8Array(100));
      sameBytes(pages, pattern(pages.length, 1), 'the pages');
      sameBytes(await open.read(mapping.dmaAddress, 100), pages.subarray(0, 100), 'the device');
      using list = open.dma.mapSg([pages.subarray(0, PAGE), pages.subarray(PAGE)], 'to-device');
      await open.write(list.segments[0]!.dmaAddress, new Uint8Array(100));
      sameBytes(pages, pattern(pages.length, 1), 'the pages of a list');
    });

    it('memory allocated for one direction is given for that direction', async () => {
      if (!world.translated) return;
      using open = await world.open();
      const source = open.dma.allocNoncoherent(PAGE, 'to-device');
      source.syncForDevice();
      await open.write(source.dmaAddress, new Uint8Array(100).fill(0xee));
      source.syncForCpu();
      sameBytes(source.bytes, new Uint8Array(PAGE), 'to-device memory after the device wrote');
      const target = open.dma.allocNoncoherent(PAGE, 'from-device');
      await open.write(target.dmaAddress, pattern(100, 1));
      target.syncForCpu();
      sameBytes(target.bytes.subarray(0, 100), pattern(100, 1), 'from-device memory after the device wrote');
      // Not every IOMMU can forbid reading: those that the simulation has do.
      if (world.simulated) {
        sameBytes(
          await open.read(target.dmaAddress, 100),
          new Uint8Array(100),
          'what the device may not read',
        );
      }
      // It cannot be mapped in place for what it was not allocated for.
      target.bytes.fill(0x77);
      using mapping = open.dma.mapSingle(target.bytes, 'to-device');
      assert.equal(mapping.way, 'bounced');
      sameBytes(await open.read(mapping.dmaAddress, 100), new Uint8Array(100).fill(0x77), 'through a copy');
    });

    it('shows zeros, and no neighbours, around foreign memory in place', async () => {
      if (!pins) return;
      using open = await world.open();
      const buffer = new Uint8Array(LONG + 4 * PAGE).fill(0xa5);
      const view = buffer.subarray(PAGE + 77, PAGE + 77 + LONG);
      view.set(pattern(LONG, 3));
      using mapping = open.dma.mapSingle(view, 'to-device');
      if (!world.simulated && mapping.way !== 'pinned') return;
      assert.equal(mapping.way, 'pinned');
      const lead = Number(mapping.dmaAddress % BigInt(PAGE));
      const first = await open.read(mapping.dmaAddress - BigInt(lead), PAGE);
      sameBytes(first.subarray(0, lead), new Uint8Array(lead), 'before');
      sameBytes(first.subarray(lead), pattern(LONG, 3).subarray(0, PAGE - lead), 'the first page');
      const tail = (lead + LONG) % PAGE;
      const last = await open.read(mapping.dmaAddress + BigInt(LONG - tail), PAGE);
      sameBytes(last.subarray(tail), new Uint8Array(PAGE - tail), 'behind');
      sameBytes(last.subarray(0, tail), pattern(LONG, 3).subarray(LONG - tail), 'the last page');
    });

    it('what is unmapped or freed is out of reach', async () => {
      if (!pins) return;
      using open = await world.open();
      const ring = open.dma.allocCoherent(PAGE);
      const stale = [ring.dmaAddress];
      ring.free();
      const bytes = pattern(LONG, 4);
      const mapping = open.dma.mapSingle(bytes, 'bidirectional');
      if (mapping.way === 'pinned') stale.push(mapping.dmaAddress, mapping.dmaAddress + BigInt(LONG - 100));
      mapping.unmap();
      for (const address of stale) {
        await open.write(address, new Uint8Array(100).fill(0xee));
        sameBytes(bytes, pattern(LONG, 4), 'foreign memory');
      }
      if (!world.simulated) return;
      for (const address of stale) sameBytes(await open.read(address, 100), new Uint8Array(100), 'read');
      assert.equal(open.faults.length, 2 * stale.length);
    });

    it('each mapping of one buffer is its own', async () => {
      using open = await world.open();
      for (const size of [300, LONG]) {
        const bytes = pattern(size, 5);
        const one = open.dma.mapSingle(bytes, 'to-device');
        const two = open.dma.mapSingle(bytes, 'to-device');
        assert.notEqual(one.dmaAddress, two.dmaAddress);
        one.unmap();
        sameBytes(await open.read(two.dmaAddress, 300), bytes.subarray(0, 300), `${size} bytes`);
        two.unmap();
      }
    });
  });
}
