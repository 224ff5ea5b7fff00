/** The NIC is pulled out while packets go round: whoever polls and whoever waits hears of it, and it can come back. */
import { setImmediate as tick } from 'node:timers/promises';
import { E1000e } from '../../../examples/nic/driver.ts';
import { forward } from '../../../examples/nic/forward.ts';
import type { Packet } from '../../../examples/nic/packet.ts';
import { DmaError, openPci } from '../../../lib/index.ts';
import { afterAll, assert, beforeAll, describe, it } from '../../harness.ts';
import { packetOf } from '../../nic/traffic.ts';
import { owned } from '../../owned.ts';
import { NIC, pullOut, putBack } from '../hotplug.ts';
import { Monitor } from '../monitor.ts';

function isGone(error: unknown): boolean {
  return error instanceof DmaError && error.code === 'ENODEV';
}

/** Packets go round, polled, until it fails. */
async function circulate(nic: E1000e): Promise<never> {
  const batch = new Array<Packet>(32);
  nic.transmit(Array.from({ length: 32 }, (_, number) => packetOf(nic, number, 1514)));
  for (;;) {
    forward(nic, nic, batch);
    await tick();
  }
}

describe('a NIC that is pulled out under load', () => {
  let monitor: Monitor;
  beforeAll(async () => {
    monitor = await Monitor.open();
  });
  afterAll(() => monitor.close());

  for (const round of [1, 2, 3]) {
    it(`tells whoever polls and whoever waits, and comes back, ${round} of 3`, async () => {
      const nic = await owned(openPci(NIC.address), (fn) => new E1000e(fn, { loopback: true }));
      const polling = assert.rejects(circulate(nic), isGone);
      await Promise.all([pullOut(monitor, NIC), polling]);
      await assert.rejects(nic.waitToReceive(), isGone);
      assert.throws(() => nic.statistics(), isGone);
      nic.close();
      assert.deepEqual(nic.fn.dma.live, []);
      await putBack(monitor, NIC);
    });
  }
});
