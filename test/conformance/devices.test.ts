/** What devices of one process have to do with each other: the same bytes lent to two of them (kernel/dma/debug.c). */
import { DMA_ATTR, dmaBitMask, openPci } from '../../lib/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { assert, describe, it } from '../harness.ts';
import { Master } from '../master.ts';

async function pair(together: boolean) {
  const a = await openPci(simulate(new Master()));
  const domain = together ? { domain: a.dma.domain! } : {};
  const b = await openPci(simulate(new Master(), { address: '0000:00:11.0' }), domain);
  return { a: a.dma, b: b.dma, close: () => [a, b].map((fn) => fn.close()) };
}

const kinds = (dma: { debug: { reports: readonly { kind: string }[] } | undefined }): string[] =>
  dma.debug!.reports.map(({ kind }) => kind);

for (const together of [true, false]) {
  describe(`two devices, ${together ? 'one domain' : 'a domain each'}`, () => {
    it('that may write the same bytes are reported', async () => {
      const { a, b, close } = await pair(together);
      for (const size of [100, 65_536]) {
        const bytes = new Uint8Array(size);
        const first = a.mapSingle(bytes, 'from-device');
        b.mapSingle(bytes, 'to-device').unmap();
        assert.deepEqual(kinds(b), []);
        b.mapSingle(bytes, 'from-device').unmap();
        assert.deepEqual(kinds(b), ['overlapping-mappings']);
        b.debug!.clear();
        b.mapSg([bytes], 'bidirectional').unmap();
        assert.deepEqual(kinds(b), ['overlapping-mappings']);
        b.debug!.clear();
        b.mapSingle(bytes, 'from-device', DMA_ATTR.SKIP_CPU_SYNC).unmap();
        first.unmap();
        b.mapSingle(bytes, 'from-device').unmap();
        assert.deepEqual([kinds(a), kinds(b)], [[], []]);
      }
      close();
    });

    it('have a mask each, which says where their own mappings and memory are', async () => {
      const { a, b, close } = await pair(together);
      const last = ({ dmaAddress, size }: { dmaAddress: bigint; size: number }) =>
        dmaAddress + BigInt(size) - 1n;
      a.setMaskAndCoherent(dmaBitMask(24));
      assert.deepEqual([b.mask, b.coherentMask], [dmaBitMask(32), dmaBitMask(32)]);
      b.setMaskAndCoherent(dmaBitMask(28));
      assert.deepEqual([a.mask, a.coherentMask], [dmaBitMask(24), dmaBitMask(24)]);
      const high = b.allocCoherent(4096);
      assert.ok(last(high) > dmaBitMask(24) && last(high) <= dmaBitMask(28), 'coherent memory of b');
      assert.ok(last(a.allocCoherent(4096)) <= dmaBitMask(24), 'coherent memory of a');
      for (const size of [100, 65_536]) {
        const bytes = new Uint8Array(size);
        assert.ok(last(a.mapSingle(bytes, 'to-device')) <= dmaBitMask(24), `a, ${size} bytes`);
        const other = last(b.mapSingle(bytes, 'to-device'));
        assert.ok(other > dmaBitMask(24) && other <= dmaBitMask(28), `b, ${size} bytes`);
      }
      // The device a cannot use the address that the memory has for b.
      const mapped = a.mapSingle(high.bytes, 'to-device');
      assert.notEqual(mapped.way, 'arithmetic');
      assert.ok(last(mapped) <= dmaBitMask(24), "b's memory for a");
      close();
    });

    it('are in nobody’s way once they are closed', async () => {
      const { a, b, close } = await pair(together);
      const bytes = new Uint8Array(100);
      a.mapSingle(bytes, 'from-device');
      a.mapSg([new Uint8Array(bytes.buffer, 50)], 'from-device', DMA_ATTR.SKIP_CPU_SYNC);
      a.close();
      b.mapSingle(bytes, 'from-device').unmap();
      assert.deepEqual(kinds(b), []);
      close();
    });
  });
}

/** Two devices in one domain, and what each is told to do. */
async function sharing(coherent: boolean, foreignPageOffset: number) {
  const models = [new Master(), new Master()] as const;
  const a = await openPci(simulate(models[0], { coherent, foreignPageOffset }));
  const other = simulate(models[1], { address: '0000:00:11.0', coherent });
  const b = await openPci(other, { domain: a.dma.domain! });
  for (const fn of [a, b]) fn.setMaster();
  return { a: a.dma, b: b.dma, models, close: () => [b, a].map((fn) => fn.close()) };
}

for (const coherent of [true, false]) {
  describe(`a buffer for two devices, ${coherent ? 'coherent' : 'incoherent'}`, () => {
    it('in whole pages is the same memory for both, and no report calls the other device the CPU', async () => {
      const { a, b, models, close } = await sharing(coherent, 0);
      const size = 65_536;
      const own = a.allocNoncoherent(size, 'bidirectional').bytes;
      for (const bytes of [new Uint8Array(size), a.allocCoherent(size).bytes, own]) {
        for (const direction of ['to-device', 'from-device', 'bidirectional'] as const) {
          bytes.fill(5);
          const first = a.mapSingle(bytes, direction);
          // The first mapping has made the bytes the devices'.
          const second = b.mapSingle(bytes, direction, DMA_ATTR.SKIP_CPU_SYNC);
          const seen = new Uint8Array(size);
          if (direction !== 'from-device') {
            models[1].bus.dmaRead(second.dmaAddress, seen);
            assert.deepEqual(seen, new Uint8Array(size).fill(5), direction);
          }
          if (direction !== 'to-device') models[1].bus.dmaWrite(second.dmaAddress, seen.fill(7));
          second.unmap();
          first.unmap();
          const expected = new Uint8Array(size).fill(direction === 'to-device' ? 5 : 7);
          assert.equal(Buffer.compare(bytes, expected), 0, direction);
          assert.deepEqual([kinds(a), kinds(b)], [[], []], direction);
        }
      }
      close();
    });

    it('the CPU that writes to it is still reported', async () => {
      const { a, b, models, close } = await sharing(coherent, 0);
      const bytes = new Uint8Array(65_536);
      const first = a.mapSingle(bytes, 'bidirectional');
      const second = b.mapSingle(bytes, 'bidirectional', DMA_ATTR.SKIP_CPU_SYNC);
      models[1].bus.dmaWrite(second.dmaAddress, new Uint8Array(100).fill(7));
      bytes[5000] = 1;
      second.unmap();
      first.unmap();
      assert.ok(kinds(a).includes('cpu-wrote-while-device-owned'), String(kinds(a)));
      close();
    });
  });
}
