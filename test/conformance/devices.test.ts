/** What devices of one process have to do with each other: the same bytes lent to two of them (kernel/dma/debug.c). */
import { DMA_ATTR, openPci } from '../../lib/index.ts';
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
