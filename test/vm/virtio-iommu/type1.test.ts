/** Another IOMMU, other windows: nothing about addresses is taken for granted. No interrupt remapping here. */
import { writeFileSync } from 'node:fs';
import { openVfio } from '../../../lib/pci/vfio/open.ts';
import { assert, describe, it } from '../../harness.ts';
import { device, refuses } from '../devices.ts';
import { openSpace } from '../space.ts';

const PARAMETER = '/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts';

describe('a virtio IOMMU', () => {
  const address = device('USERDMA_TEST_EDU');

  it('has its own windows, all below 2^53', () => {
    const { space } = openSpace(address);
    try {
      assert.equal(space.pageSize, 4096);
      const { start, end } = space.ranges.at(-1)!;
      assert.equal(start, 0xfef0_0000);
      // QEMU 7.2 translates all 64 bits, later ones as many as their IOMMU was given: 39, if nobody says.
      const last = end === Number.MAX_SAFE_INTEGER ? 2 ** 52 : (end + 1) / 2;
      assert.ok(Number.isInteger(Math.log2(last)) && last >= 2 ** 38, `the window ends at ${end}`);
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
