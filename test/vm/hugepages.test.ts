/** Memory from huge pages: there when the system has reserved some, an error that says how when it has not. */
import { readFileSync, writeFileSync } from 'node:fs';
import { Edu } from '../../examples/edu/driver.ts';
import { openPci } from '../../lib/index.ts';
import { afterAll, assert, describe, it } from '../harness.ts';
import { device, refuses } from './devices.ts';

const RESERVED = '/proc/sys/vm/nr_hugepages';

function free(): number {
  return Number(/HugePages_Free:\s*(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
}

describe('memory from huge pages', () => {
  afterAll(() => writeFileSync(RESERVED, '0'));

  it('moves bytes, and goes back when the function is closed', async () => {
    writeFileSync(RESERVED, '4');
    assert.equal(free(), 4);
    {
      using edu = new Edu(await openPci(device('USERDMA_TEST_EDU'), { hugepages: true }));
      assert.equal(free(), 3, 'the transfer page is carved from one');
      const sent = Uint8Array.from({ length: 1000 }, (_, i) => i % 253);
      await edu.write(sent);
      assert.deepEqual(await edu.read(1000), sent);
      const large = edu.fn.dma.allocCoherent(4 * 1024 * 1024);
      assert.equal(free(), 1);
      large.free();
    }
    assert.equal(free(), 4);
  });

  it('is refused when none are reserved, and the function can be opened without', async () => {
    writeFileSync(RESERVED, '0');
    {
      using fn = await openPci(device('USERDMA_TEST_EDU'), { hugepages: true });
      refuses(() => fn.dma.allocCoherent(4096), 'ENOMEM', 'vm.nr_hugepages');
    }
    using edu = new Edu(await openPci(device('USERDMA_TEST_EDU')));
    assert.equal(await edu.factorial(4), 24);
  });
});
