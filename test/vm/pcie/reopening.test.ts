/** Functions that are opened and closed a thousand times. */
import { openPci } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';
import { assertNoGrowth, collectGarbage, holdings, memoryUse } from '../holdings.ts';

const TIMES = 1000;
const WARM_UP = 50;
const ID = 0x0100_00ed;
const RAISE = 0x60;

describe('a function that is opened and closed', () => {
  const address = device('USERDMA_TEST_EDU');
  const twin = device('USERDMA_TEST_EDU_TWIN');

  /** With an interrupt; every tenth time with memory and mappings too, and another function of its group. */
  async function once(i: number): Promise<void> {
    using fn = await openPci(address);
    using other = i % 10 === 0 ? await openPci(twin) : undefined;
    fn.setMaster();
    assert.equal(fn.bar(0).read32(0), ID);
    other?.dma.allocCoherent(4096).bytes.fill(i);
    other?.dma.mapSingle(new Uint8Array(100_000), 'to-device');
    if (other !== undefined) fn.dma.allocCoherent(4096);
    const interrupt = fn.interrupts.msi(0);
    fn.bar(0).write32(RAISE, 1);
    assert.equal(await interrupt.wait(), 1);
    if (i % 10 === 0) collectGarbage();
  }

  it(`${TIMES} times leaves nothing behind`, async () => {
    for (let i = 0; i < WARM_UP; i++) await once(i);
    const before = holdings();
    const memory = await memoryUse();
    for (let i = 0; i < TIMES; i++) await once(i);
    console.log(' ', JSON.stringify(before));
    assert.deepEqual(holdings(), before);
    await assertNoGrowth(memory);
  });
});
