/** What the device may not do, and what it must not see: page permissions, edges, and what is unmapped. */
import { assert, describe, it } from '../harness.ts';
import { DIRECTIONS, foreignPages, overlay, PAGE, pattern, reads, sameBytes, writes } from './bytes.ts';
import { COPYBREAK, type OpenWorld, worlds } from './worlds.ts';

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

    it('gives strictly bounced memory by direction, from map to unmap, and nothing beside it', async () => {
      if (!world.translated) {
        await assert.rejects(world.open('strict'), { code: 'EOPNOTSUPP' });
        return;
      }
      using open = await world.open('strict');
      const { dma } = open;
      const size = 300;
      const [before, bytes, after] = [1, 2, 3].map((seed) => pattern(size, seed)) as [Bytes, Bytes, Bytes];
      const gone = dma.mapSingle(before, 'bidirectional');
      const { dmaAddress: slot } = gone;
      gone.unmap();
      await refusedTo(open, slot, 'before map');
      for (const direction of DIRECTIONS) {
        using left = dma.mapSingle(before, 'to-device');
        const mapping = dma.mapSingle(bytes, direction);
        using right = dma.mapSingle(after, 'to-device');
        const { dmaAddress: address } = mapping;
        const all = [left.dmaAddress, address, right.dmaAddress];
        assert.equal(new Set(all.map((one) => one / BigInt(PAGE))).size, 3, 'pages');
        if (reads(direction))
          sameBytes(await open.read(address, size), pattern(size, 2), `${direction} read`);
        // Not every IOMMU can forbid reading: those that the simulation has do.
        else if (world.simulated) await refusedTo(open, address, direction, ['read']);
        if (writes(direction)) {
          await open.write(address + 10n, new Uint8Array(9).fill(0xee));
          mapping.syncForCpu();
          sameBytes(bytes, overlay(pattern(size, 2), new Uint8Array(9).fill(0xee), 10), `${direction} write`);
          mapping.syncForDevice();
        } else {
          await refusedTo(open, address, direction, ['write']);
          sameBytes(await open.read(address, size), pattern(size, 2), 'after a write that is refused');
        }
        const pageAfter = (address / BigInt(PAGE) + 1n) * BigInt(PAGE);
        if (!all.some((one) => one / BigInt(PAGE) === pageAfter / BigInt(PAGE))) {
          await refusedTo(open, pageAfter, 'beside');
        }
        mapping.unmap();
        const kept = Uint8Array.from(bytes);
        await refusedTo(open, address, 'after unmap');
        sameBytes(bytes, kept, 'bytes after unmap');
        bytes.set(pattern(size, 2));
      }
      // What the device wrote beside the bytes, in the page that was its own, nobody finds later.
      const first = dma.mapSingle(bytes.subarray(0, 100), 'bidirectional');
      await open.write(first.dmaAddress + 3000n, new Uint8Array(50).fill(0xee));
      first.unmap();
      using second = dma.mapSingle(bytes.subarray(0, 100), 'to-device');
      sameBytes(await open.read(second.dmaAddress + 3000n, 50), new Uint8Array(50), 'beside');
      assert.equal(dma.bounceStats.usedSlots, PAGE / dma.bounceStats.slotSize, 'slots: whole pages');
    });

    it('gives strictly bounced lists by direction, from map to unmap', async () => {
      if (!world.translated) return;
      using open = await world.open('strict');
      const { dma } = open;
      const pieces = Array.from({ length: 5 }, (_, i) => pattern(700 + i, i));
      const list = dma.mapSg(pieces, 'to-device');
      const places = list.segments.map(({ dmaAddress, length }) => ({ dmaAddress, length }));
      const seen: Uint8Array[] = [];
      for (const { dmaAddress, length } of places) seen.push(await open.read(dmaAddress, length));
      sameBytes(Buffer.concat(seen), Buffer.concat(pieces), 'the list');
      for (const { dmaAddress } of places) await refusedTo(open, dmaAddress, 'to-device', ['write']);
      list.unmap();
      for (const { dmaAddress } of places) await refusedTo(open, dmaAddress, 'after unmap');
      assert.equal(dma.bounceStats.usedSlots, 0);
    });
  });
}

type Bytes = Uint8Array<ArrayBuffer>;

/** The device reads zeros and its writes go nowhere; where faults can be seen, there is one for each access. */
async function refusedTo(
  { faults, read, write, dma }: OpenWorld,
  address: bigint,
  when: string,
  accesses: readonly ('read' | 'write')[] = ['read', 'write'],
): Promise<void> {
  const { simulated } = worlds[0]!;
  for (const access of accesses) {
    const before = faults.length;
    if (access === 'write') await write(address, new Uint8Array(16).fill(0xdd));
    else if (simulated) sameBytes(await read(address, 16), new Uint8Array(16), `read ${when}`);
    if (simulated) assert.equal(faults.length, before + 1, `faults of a ${access} ${when}`);
  }
  dma.debug?.clear();
}
