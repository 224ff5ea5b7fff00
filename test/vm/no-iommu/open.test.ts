/** A machine whose IOMMU is off: the error says how to switch it on. */
import { openVfio } from '../../../lib/pci/vfio/open.ts';
import { describe, it } from '../../harness.ts';
import { device, refuses } from '../devices.ts';

describe('a machine without an IOMMU', () => {
  it('says so', () => {
    refuses(() => openVfio(device('USERDMA_TEST_EDU')), 'ENODEV', 'the IOMMU is off', 'intel_iommu=on');
  });
});
