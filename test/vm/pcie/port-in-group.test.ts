/**
 * A function whose port is in its group. Behind an SMMUv3 nobody hears of the button of the slot while the group is held, but
 * the kernel can be told to remove the function.
 */

import { realpathSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { DmaError, openPci } from '../../../lib/index.ts';
import { describeWith } from '../../absent.ts';
import { afterEach, assert, it } from '../../harness.ts';
import { device, groupOf, rejects } from '../devices.ts';
import { holdings } from '../holdings.ts';
import { findAgain, remove } from '../hotplug.ts';

const ID = 0x0100_00ed;

// A QEMU whose ports always have access control refuses the port, and so the function.
describeWith('USERDMA_TEST_EDU_WITH_PORT', 'a function whose port is in its group', () => {
  const address = device('USERDMA_TEST_EDU_WITH_PORT');
  const port = basename(dirname(realpathSync(`/sys/bus/pci/devices/${address}`)));

  afterEach(() => findAgain(address));

  it('shares it with the port alone', () => {
    assert.equal(groupOf(address), groupOf(port));
  });

  for (const grace of ['that gives it back', 'that does not']) {
    it(`is taken from a driver ${grace}, and comes back`, async () => {
      const before = holdings();
      const fn = await openPci(address, { releaseGrace: 20 });
      let asked = 0;
      fn.onReleaseRequest(() => {
        asked++;
        return grace === 'that does not' ? new Promise(() => {}) : undefined;
      });
      fn.dma.allocCoherent(100_000);
      const waiting = rejects(fn.interrupts.msi(0).wait(), 'ENODEV', 'is gone');
      await remove(address);
      await waiting;
      assert.equal(asked, 1);
      assert.ok(fn.gone.reason instanceof DmaError);
      await rejects(openPci(address), 'ENODEV', 'there is no PCI function');
      fn.close();
      assert.deepEqual(holdings(), before);
      await findAgain(address);
      using again = await openPci(address);
      assert.equal(again.bar(0).read32(0), ID);
    });
  }
});
