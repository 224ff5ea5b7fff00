/** A function that comes back before the program has closed what it held of it. */
import { writeFile } from 'node:fs/promises';
import { Edu } from '../../../examples/edu/driver.ts';
import { openPci, type PciFunction } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';
import { holdings } from '../holdings.ts';
import { bindVfio } from '../hotplug.ts';

const edu = device('USERDMA_TEST_EDU');
const twin = device('USERDMA_TEST_EDU_TWIN');
const wide = device('USERDMA_TEST_EDU_WIDE');

/** As if it had been pulled out and put back. */
async function replug(fn: PciFunction): Promise<void> {
  await writeFile(`/sys/bus/pci/devices/${fn.address}/driver/unbind`, fn.address);
  assert.equal(fn.gone.aborted, true);
  await bindVfio(fn.address);
}

async function works(fn: PciFunction): Promise<void> {
  const driver = new Edu(fn);
  await driver.write(Uint8Array.of(1, 2, 3));
  assert.deepEqual([...(await driver.read(3))], [1, 2, 3]);
}

describe('a function that is back', () => {
  for (const order of ['old first', 'new first'] as const) {
    const close = (old: PciFunction, again: PciFunction): void => {
      for (const fn of order === 'old first' ? [old, again] : [again, old]) fn.close();
    };

    it(`alone in its group is opened in a domain of its own; ${order}`, async () => {
      const before = holdings();
      const old = await openPci(wide);
      const ring = old.dma.allocCoherent(4096);
      await replug(old);
      const again = await openPci(wide);
      assert.notEqual(again.domain, old.domain);
      await works(again);
      ring.free();
      close(old, again);
      assert.deepEqual(holdings(), before);
    });

    it(`of a group in use joins it; ${order}`, async () => {
      const before = holdings();
      const old = await openPci(edu);
      const other = await openPci(twin);
      old.dma.allocCoherent(4096);
      await replug(old);
      const again = await openPci(edu);
      assert.equal(again.domain, other.domain);
      await works(again);
      close(old, again);
      await works(other);
      other.close();
      assert.deepEqual(holdings(), before);
    });

    it(`of a group of its own in a shared domain joins that; ${order}`, async () => {
      const before = holdings();
      const other = await openPci(edu);
      const { domain } = other;
      const old = await openPci(wide, { domain: domain! });
      old.dma.allocCoherent(4096);
      await replug(old);
      const again = await openPci(wide, { domain: domain! });
      assert.equal(again.domain, domain);
      await works(again);
      close(old, again);
      await works(other);
      other.close();
      assert.deepEqual(holdings(), before);
    });
  }
});
