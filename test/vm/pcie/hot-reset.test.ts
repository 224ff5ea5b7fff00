/** A hot reset of one function of a bus of three, seen from the one that shows it. */
import { openPci } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';

const ARGUMENT = 0x08;

describe('a hot reset', () => {
  it('resets the registers of a conventional function, which has no other', async () => {
    using fn = await openPci(device('USERDMA_TEST_SMALL_BAR'));
    fn.bar(0).write32(ARGUMENT, 0x12345678);
    assert.throws(() => fn.reset(), { code: 'EOPNOTSUPP' });
    assert.equal(fn.bar(0).read32(ARGUMENT), 0x12345678);
    const line = fn.interrupts.intx();
    const { functions, rearmed } = fn.hotReset();
    assert.equal(fn.bar(0).read32(ARGUMENT), 0);
    assert.deepEqual(functions, [
      fn.address,
      device('USERDMA_TEST_EDU_BRIDGED'),
      device('USERDMA_TEST_EDU_NEIGHBOUR'),
    ]);
    assert.deepEqual(rearmed, [{ kind: 'intx', vector: 0 }]);
    line.trigger();
    assert.equal(await line.wait({ signal: AbortSignal.timeout(20_000) }), 1);
  });
});
