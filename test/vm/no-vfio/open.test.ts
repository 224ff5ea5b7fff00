/** A machine whose kernel has not loaded VFIO: the error says what to load and bind. */
import { loadAddon } from '../../../lib/native/load.ts';
import { VFIO_IOMMU } from '../../../lib/native/vfio.ts';
import { openVfio } from '../../../lib/pci/vfio/open.ts';
import { assert, describe, it } from '../../harness.ts';
import { device, refuses } from '../devices.ts';

describe('a machine without VFIO', () => {
  it('says what to load', () => {
    refuses(() => openVfio(device('USERDMA_TEST_EDU')), 'ENODEV', 'modprobe vfio-pci');
  });

  it('has no container to open', () => {
    assert.ok(loadAddon().vfioContainerOpen(VFIO_IOMMU.type1) < 0);
  });
});
