/**
 * Memory of the program itself, given to the device in place, whose buffer goes away while the device has it. V8
 * would hand the memory to the next buffer; the device must not be in there.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Edu } from '../../examples/edu/driver.ts';
import { openPci, type StreamingMapping } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { owned } from '../owned.ts';
import { device } from './devices.ts';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** Sizes whose memory glibc gives back to the next buffer of the same size. */
const SIZES = [256 * 1024, 1024 * 1024];

const ways: Record<string, (buffer: ArrayBuffer) => void> = {
  collected: () => {},
  transferred: (buffer) => void structuredClone(buffer, { transfer: [buffer] }),
};

async function collect(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

describe('a buffer mapped in place', () => {
  for (const [how, lose] of Object.entries(ways)) {
    for (const size of SIZES) {
      it(`of ${size} bytes that is ${how} keeps its memory until unmap`, async () => {
        using edu = new Edu(
          await openPci(device('USERDMA_TEST_EDU'), { streaming: { copybreak: 32 * 1024 } }),
        );
        await edu.write(new Uint8Array(4000).fill(0xa5));
        const map = (): StreamingMapping => {
          const buffer = new ArrayBuffer(size);
          const mapping = edu.fn.dma.mapSingle(new Uint8Array(buffer), 'from-device');
          lose(buffer);
          return mapping;
        };
        const mappings = Array.from({ length: 4 }, map);
        assert.ok(mappings.every(({ way }) => way === 'pinned'));
        const addresses = mappings.map(({ dmaAddress }) => dmaAddress + BigInt(size / 2));
        await collect();
        const next = Array.from({ length: 16 }, () => Buffer.alloc(size, 0x11));
        for (const address of addresses) await edu.writeAnywhere(address, 4000);
        for (const bytes of next) assert.equal(bytes.indexOf(0xa5), -1, 'the device wrote to it');
        for (const mapping of mappings) {
          // The memory was taken back all the same; only there is nobody to tell the bytes to.
          try {
            mapping.unmap();
          } catch (error) {
            assert.match(String(error), /EINVAL|detached/);
          }
        }
      });
    }
  }

  it('has the bytes of the device when it stays', async () => {
    using edu = await owned(
      openPci(device('USERDMA_TEST_EDU'), { streaming: { copybreak: 32 * 1024 } }),
      (fn) => new Edu(fn),
    );
    const sent = Uint8Array.from({ length: 4000 }, (_, i) => i % 251);
    await edu.write(sent);
    const bytes = new Uint8Array(100_001).subarray(1);
    const mapping = edu.fn.dma.mapSingle(bytes, 'from-device');
    assert.equal(mapping.way, 'pinned');
    for (const offset of [0, 50_000, bytes.length - 4000]) {
      await edu.writeAnywhere(mapping.dmaAddress + BigInt(offset), 4000);
    }
    mapping.unmap();
    for (const offset of [0, 50_000, bytes.length - 4000]) {
      assert.deepEqual(bytes.subarray(offset, offset + 4000), sent);
    }
  });
});
