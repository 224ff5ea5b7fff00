/** A machine whose kernel has not loaded VFIO: the commands that doctor prints, one after the other, make it ready. */
import { existsSync } from 'node:fs';
import { openPci } from '../../../lib/index.ts';
import { afterAll, assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';
import { command, diagnose, shell } from '../doctor.ts';

describe('doctor in a machine without VFIO', () => {
  const edu = device('USERDMA_TEST_EDU');

  // The other tests of this machine want it without.
  afterAll(() => {
    shell(`npx userdma unbind ${edu}; modprobe -r vfio-pci; modprobe -r vfio_iommu_type1`);
    assert.equal(existsSync('/dev/vfio/vfio'), false);
  });

  it('names the module, and then what is left, until the function can be opened', async () => {
    assert.equal(diagnose([]).ways.vfio, false);
    assert.equal(command(diagnose([]), 'no-vfio'), 'modprobe vfio-pci');
    shell(command(diagnose([]), 'no-vfio'));
    // The modprobe of kmod, which reads what modules wish for, has loaded this one with the first.
    const { problems } = diagnose([]);
    if (problems.length > 0) shell(command(diagnose([]), 'no-type1'));
    assert.deepEqual(diagnose([]).problems, []);
    shell(command(diagnose([edu]), 'driver'));
    const { problems: left, ways } = diagnose([edu]);
    assert.deepEqual([left, ways.vfio], [[], true]);
    (await openPci(edu)).close();
  });
});
