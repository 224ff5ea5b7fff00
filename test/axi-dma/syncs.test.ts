/** What a sync is for: a driver that leaves one out, where caches are coherent and where they are not. */
import { AxiDma, type AxiDmaOptions, type AxiDmaParts } from '../../examples/axi-dma/driver.ts';
import type { Lent, Payload } from '../../examples/axi-dma/transfer.ts';
import { DMA_ATTR, type DmaDevice, type DmaDirection } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { bench, loopback, pattern } from './bench.ts';

/** Lends one view at a time, and leaves out the syncs of one direction. */
abstract class ForgetfulAxiDma extends AxiDma {
  readonly #dma: DmaDevice;

  constructor(parts: AxiDmaParts, options?: AxiDmaOptions) {
    super(parts, options);
    this.#dma = parts.dma;
  }

  protected abstract readonly forgotten: DmaDirection;

  protected override lend(payload: Payload, direction: DmaDirection): Lent {
    const attributes = direction === this.forgotten ? DMA_ATTR.SKIP_CPU_SYNC : 0;
    return this.#dma.mapSingle(payload as ArrayBufferView, direction, attributes);
  }
}

class ForgetsForDevice extends ForgetfulAxiDma {
  protected override readonly forgotten = 'to-device';
}

class ForgetsForCpu extends ForgetfulAxiDma {
  protected override readonly forgotten = 'from-device';
}

describe('AXI DMA: a driver that forgets its syncs', () => {
  /** What dma-debug said of the last loop. */
  let reports: readonly string[] = [];

  /** @returns what the program finds in its buffer after a loop through memory of the device */
  async function loop(coherent: boolean, iommu: boolean, Driver: typeof AxiDma): Promise<Uint8Array> {
    using run = await bench({ machine: { coherent, iommu }, Driver });
    const { axi, fn } = run;
    const from = fn.dma.allocNoncoherent(256, 'to-device');
    const to = fn.dma.allocNoncoherent(256, 'from-device');
    from.bytes.set(pattern(256));
    assert.equal(await loopback(axi, from.bytes, to.bytes), 256);
    const found = to.bytes.slice();
    for (const buffer of [from, to]) buffer.free();
    reports = (fn.dma.debug?.reports ?? []).map(({ kind }) => kind);
    return found;
  }

  for (const iommu of [true, false]) {
    const where = iommu ? 'behind an IOMMU' : 'without an IOMMU';
    it(`gets away with it on a PC, ${where}`, async () => {
      for (const Driver of [AxiDma, ForgetsForDevice, ForgetsForCpu]) {
        assert.deepEqual(await loop(true, iommu, Driver), pattern(256));
      }
    });

    it(`sees the wrong bytes where caches are not coherent, ${where}`, async () => {
      assert.deepEqual(await loop(false, iommu, AxiDma), pattern(256));
      assert.deepEqual(reports, []);
      const stale = await loop(false, iommu, ForgetsForDevice);
      assert.ok(
        stale.every((byte) => byte === 0xdb),
        'the device sent what memory held before',
      );
      assert.notDeepEqual(reports, [], 'dma-debug tells');
      const unseen = await loop(false, iommu, ForgetsForCpu);
      assert.ok(
        unseen.every((byte) => byte === 0),
        'the program sees what its cache held before',
      );
      assert.notDeepEqual(reports, [], 'dma-debug tells');
    });
  }
});
