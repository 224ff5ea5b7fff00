/** Another IOMMU, other windows: nothing about addresses is taken for granted. No interrupt remapping here. */
import { writeFileSync } from 'node:fs';
import { openVfio } from '../../../lib/pci/vfio/open.ts';
import { assert, describe, it } from '../../harness.ts';
import { device, refuses } from '../devices.ts';
import { openSpace } from '../space.ts';

/** QEMU 7.2 translates 64 bits, of which the library uses 53; from QEMU 9 on it is 39 on this board. */
const BITS = Number.parseInt(process.env.USERDMA_TEST_QEMU ?? '', 10) >= 9 ? 39 : 53;
const PARAMETER = '/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts';

describe('a virtio IOMMU', () => {
  const address = device('USERDMA_TEST_EDU');

  it('has its own windows, all below 2^53', () => {
    const { space } = openSpace(address);
    try {
      assert.equal(space.pageSize, 4096);
      assert.deepEqual(space.ranges.at(-1), { start: 0xfef0_0000, end: 2 ** BITS - 1 });
      const last = 2 ** (BITS - 1);
      const buffer = new ArrayBuffer(8192);
      const first = (4096 - space.pageOffset(buffer)) % 4096;
      space.map(last, buffer, first, 4096, 'read');
      assert.equal(space.unmap(last, 4096), 4096);
    } finally {
      space.close();
    }
  });

  it('is refused when interrupts are not isolated, unless that is allowed', () => {
    writeFileSync(PARAMETER, '0');
    refuses(() => openVfio(address), 'EPERM', 'interrupt remapping', 'allow_unsafe_interrupts');
    writeFileSync(PARAMETER, '1');
    const { transport, dma } = openVfio(address);
    assert.equal(transport.bars[0]!.read32(0), 0x0100_00ed);
    transport.close();
    dma.close();
  });
});
