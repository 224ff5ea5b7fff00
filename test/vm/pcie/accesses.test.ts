/**
 * BARs of kinds that no other device of the machine has.
 *
 * QEMU's pci-testdev (docs/specs/pci-testdev) counts the accesses that have the place, the width and the value it
 * names, in BAR 0 of memory and in BAR 1 of ports:
 *
 *      0x00 test, written: selects one      0x08 data to write
 *      0x01 width in bytes                  0x0c count
 *      0x04 offset to write to
 */
import { openPci } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { device, refuses } from '../devices.ts';

describe('BARs through VFIO', () => {
  for (const [index, kind, size] of [
    [0, 'memory', 4096],
    [1, 'io', 256],
  ] as const) {
    it(`of ${kind} take each access once`, async () => {
      using fn = await openPci(device('USERDMA_TEST_ACCESSES'));
      const bar = fn.bar(index);
      assert.deepEqual([bar.info.kind, bar.size], [kind, size]);
      bar.write8(0, 0);
      assert.equal(bar.read8(1), 1);
      const [offset, data] = [bar.read32(4), bar.read32(8)];
      assert.equal(bar.read32(12), 0);
      for (let i = 0; i < 7; i++) bar.write8(offset, data);
      assert.equal(bar.read32(12), 7);
      refuses(() => bar.read32(size), 'EINVAL');
    });
  }

  it('smaller than a page are all of what they are, and no more', async () => {
    using fn = await openPci(device('USERDMA_TEST_SMALL_BAR'));
    const bar = fn.bar(0);
    assert.equal(bar.size, 256);
    const ARGUMENT = 0x08;
    bar.write32(ARGUMENT, 0x12345678);
    assert.equal(bar.read32(ARGUMENT), 0x12345678);
    bar.read16(254); // the version of the controller, the last register
    refuses(() => bar.read16(256), 'EINVAL');
    refuses(() => bar.write32(4092, 0), 'EINVAL');
    refuses(() => fn.dma.mapResource(bar, 0, 4096, 'bidirectional'), 'EINVAL');
  });

  it('of 64 bits keep what is written, at every width and both ends', async () => {
    using fn = await openPci(device('USERDMA_TEST_IVSHMEM'));
    const bar = fn.bar(2);
    const { size, is64Bit, prefetchable } = bar.info;
    assert.deepEqual([size, is64Bit, prefetchable], [1 << 20, true, true]);
    for (const base of [0, bar.size - 8]) {
      bar.write64(base, 0x0123456789abcdefn);
      assert.equal(bar.read64(base), 0x0123456789abcdefn);
      assert.deepEqual([bar.read32(base), bar.read32(base + 4)], [0x89abcdef, 0x01234567]);
      bar.write8(base + 7, 0xfe);
      bar.write16(base, 0x1234);
      assert.equal(bar.read64(base), 0xfe23456789ab1234n);
    }
  });
});
