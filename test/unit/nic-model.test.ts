/** What only the model shows: a network, filters, a device that is pulled out, and faults. */
import { setImmediate as tick } from 'node:timers/promises';
import { E1000e, type E1000eOptions } from '../../examples/nic/driver.ts';
import { type E1000eModelOptions, simulateE1000e } from '../../examples/nic/model.ts';
import type { Packet } from '../../examples/nic/packet.ts';
import { COMMAND, DESCRIPTOR, REGISTER } from '../../examples/nic/registers.ts';
import { DmaError, openPci } from '../../lib/index.ts';
import { FaultInjector, type SimulateOptions } from '../../lib/sim/index.ts';
import { checkDmaAfterEach } from '../../lib/testing/index.ts';
import { afterEach, assert, describe, it } from '../harness.ts';
import { expectFrame, fill, packetOf, receive } from '../nic/traffic.ts';
import { owned } from '../owned.ts';

const OWN = [0x02, 1, 2, 3, 4, 5];
const OTHER = [0x02, 1, 2, 3, 4, 6];

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof DmaError && error.code === code;
}

async function plug(
  model: E1000eModelOptions = {},
  options: E1000eOptions = {},
  machine: SimulateOptions = {},
) {
  const source = simulateE1000e({ address: OWN, ...model }, machine);
  const nic = await owned(
    openPci(source),
    (fn) => new E1000e(fn, { descriptors: 64, packets: 256, ...options }),
  );
  return { source, nic, model: source.model };
}

function to(address: readonly number[], length = 60): Uint8Array {
  const frame = new Uint8Array(length).fill(length);
  frame.set(address);
  return frame;
}

// These tests say what the device has done by the time a call returns: it does not lag here.
checkDmaAfterEach(afterEach, { machine: {} });

describe('the model of the 82574', () => {
  it('is pulled out at any moment of its start, which leaves nothing behind', async () => {
    let opened = false;
    for (let nth = 1; !opened; nth++) {
      const inject = new FaultInjector({ seed: 1 }).on('device-gone', { nth });
      using fn = await openPci(simulateE1000e({}, { inject }));
      try {
        new E1000e(fn).close();
        opened = true;
      } catch (error) {
        assert.ok(hasCode('ENODEV')(error), `${nth}: ${String(error)}`);
        assert.equal(fn.dma.live.length, 0);
      }
    }
  });

  it('leaves nothing behind when there is no memory to start with', async () => {
    for (const kind of ['no-memory', 'map-limit', 'no-iova'] as const) {
      for (const nth of [1, 2, 3]) {
        const inject = new FaultInjector({ seed: 1 }).on(kind, { nth });
        using fn = await openPci(simulateE1000e({}, { inject }));
        assert.throws(
          () => new E1000e(fn),
          (error) => hasCode('ENOMEM')(error) || hasCode('ENOSPC')(error),
        );
        assert.equal(fn.dma.live.length, 0);
        inject.off(kind);
        new E1000e(fn).close();
      }
    }
  });

  it('sends to the network, and receives what is for it', async () => {
    const onWire: Uint8Array[] = [];
    const { nic, model } = await plug({ onPacket: (frame) => onWire.push(frame) });
    using _ = nic;
    assert.equal(nic.macAddress, '02:01:02:03:04:05');
    nic.transmit([packetOf(nic, 1, 20)]);
    assert.deepEqual(
      onWire.map(({ length }) => length),
      [60],
    );
    const broadcast = new Array<number>(6).fill(0xff);
    for (const address of [OWN, OTHER, broadcast, [1, 0, 0x5e, 0, 0, 1]]) model.receive(to(address));
    model.receive(to(OWN, 1519));
    const got = await receive(nic, 2);
    assert.deepEqual(
      got.map(({ bytes }) => [...bytes.subarray(0, 6)]),
      [OWN, broadcast],
    );
    const { packetsReceived, tooLong, packetsSent } = nic.statistics();
    assert.deepEqual([packetsSent, packetsReceived, tooLong], [1, 2, 1]);
  });

  it('counts what it had no descriptor for', async () => {
    const { nic, model } = await plug();
    using _ = nic;
    for (let i = 0; i < 100; i++) model.receive(to(OWN, 60 + i));
    const { packetsReceived, missed, noBuffer } = nic.statistics();
    assert.deepEqual([packetsReceived, missed, noBuffer], [63, 37, 37]);
    for (const [i, { length }] of (await receive(nic, 63)).entries()) assert.equal(length, 60 + i);
    model.receive(to(OWN, 500));
    assert.equal((await receive(nic, 1))[0]!.length, 500);
  });

  it('receives nothing while it is halted, and forgets what it was sending at a reset', async () => {
    const { nic } = await plug({ packetTime: 5 }, { loopback: true });
    using _ = nic;
    nic.transmit(Array.from({ length: 10 }, (_, number) => packetOf(nic, number, 60)));
    nic.reset();
    for (let i = 0; i < 50; i++) await tick();
    assert.equal(nic.receive([], 32), 0);
    // The reads of the reset let the first ones go.
    assert.ok(nic.statistics().packetsSent < 10);
  });
});

describe('the driver of the 82574', () => {
  it('drops packets with errors, and goes on', async () => {
    const { nic, model } = await plug();
    using _ = nic;
    const [ring] = nic.fn.dma.live.filter((held) => 'buffer' in held && held.size === 64 * 16);
    assert.ok(ring !== undefined && 'buffer' in ring);
    const words = new Int32Array(ring.buffer);
    for (const length of [60, 61, 62, 63]) model.receive(to(OWN, length));
    // A CRC error; and one that is not the end of a packet, which no device should make of a standard frame.
    words[0 * DESCRIPTOR.words + DESCRIPTOR.state]! |= 1 << 8;
    words[2 * DESCRIPTOR.words + DESCRIPTOR.state]! &= ~2;
    const batch: Packet[] = [];
    assert.equal(nic.receive(batch, 32), 2);
    assert.deepEqual(
      batch.map(({ length }) => length),
      [61, 63],
    );
    assert.equal(nic.dropped, 2);
    assert.equal(nic.available, 256 - 64 - 2);
  });

  it('rings once for many packets, and has only the last of a call reported', async () => {
    const { nic, source } = await plug({}, { loopback: true });
    using _ = nic;
    const { model } = source;
    const rung: number[] = [];
    const reported: boolean[] = [];
    const write = model.write.bind(model);
    const watched: typeof write = (bar, offset, width, value) => {
      if (offset === REGISTER.transmitTail) {
        const [, ring] = nic.fn.dma.live.filter((held) => 'buffer' in held && held.size === 64 * 16);
        assert.ok(ring !== undefined && 'buffer' in ring);
        const words = new Int32Array(ring.buffer);
        for (let slot = 0; slot < 20; slot++) {
          reported.push((words[slot * DESCRIPTOR.words + DESCRIPTOR.command]! & COMMAND.reportStatus) !== 0);
        }
      }
      if (offset === REGISTER.transmitTail || offset === REGISTER.receiveTail) rung.push(offset);
      write(bar, offset, width, value);
    };
    model.write = watched;
    nic.transmit(Array.from({ length: 20 }, (_, number) => packetOf(nic, number, 60)));
    assert.deepEqual(reported, [...new Array<boolean>(19).fill(false), true]);
    assert.equal(nic.receive([], 10), 10);
    assert.equal(nic.receive([], 10), 10);
    assert.equal(nic.receive([], 10), 0);
    // After twenty, more than its lot; not after ten.
    assert.deepEqual(rung.splice(0), [REGISTER.transmitTail, REGISTER.receiveTail]);
    model.write = write;
    nic.transmit([packetOf(nic, 1, 60)]);
    model.write = watched;
    assert.equal(nic.receive([], 1), 1);
    assert.deepEqual(rung, []);
    // There is nothing more to do.
    assert.equal(nic.receive([], 1), 0);
    assert.deepEqual(rung, [REGISTER.receiveTail]);
  });

  it('says ENODEV when the device is pulled out, to whoever waits and to whoever comes later', async () => {
    const { nic, source } = await plug({ packetTime: 5 }, { loopback: true });
    const packets = Array.from({ length: 10 }, (_, number) => packetOf(nic, number, 60));
    nic.transmit(packets, 0, 5);
    const waits = [nic.waitToReceive(), nic.waitToTransmit(nic.capacity)];
    source.unplug();
    for (const wait of waits) await assert.rejects(wait, hasCode('ENODEV'));
    const { reason } = nic.fn.gone;
    // Polling touches no register.
    assert.throws(
      () => nic.receive([], 1),
      (error) => error === reason,
    );
    assert.throws(
      () => nic.underWay,
      (error) => error === reason,
    );
    assert.throws(() => nic.transmit(packets, 5), hasCode('ENODEV'));
    assert.throws(() => nic.statistics(), hasCode('ENODEV'));
    assert.throws(() => nic.reset(), hasCode('ENODEV'));
    await assert.rejects(nic.waitToReceive(), hasCode('ENODEV'));
    nic.close();
    assert.deepEqual(nic.fn.dma.live, []);
    assert.ok(packets.every(({ bytes }) => bytes.length === 0));
    source.plugIn();
    using again = await owned(openPci(source), (fn) => new E1000e(fn, { loopback: true }));
    again.transmit([packetOf(again, 1, 60)]);
    expectFrame((await receive(again, 1))[0]!, 1, 60, 'after it was put back');
  });

  it('gives a lost interrupt up when told to, and finds the packet', async () => {
    const inject = new FaultInjector({ seed: 1 }).on('interrupt-lost', { nth: 1 });
    const { nic } = await plug({ packetTime: 5 }, { loopback: true }, { inject });
    using _ = nic;
    const waiting = nic.waitToReceive({ signal: AbortSignal.timeout(50) });
    nic.transmit([packetOf(nic, 1, 60)]);
    await assert.rejects(waiting, { name: 'TimeoutError' });
    (await receive(nic, 1))[0]!.free();
  });

  it('leaves everything as it was when a register does not answer', async () => {
    const inject = new FaultInjector({ seed: 1 }).on('read-all-ones');
    const fn = await openPci(simulateE1000e({}, { inject }));
    try {
      // The reset bit never goes, nor does that of bus mastering.
      assert.throws(() => new E1000e(fn), hasCode('EIO'));
      assert.deepEqual(fn.dma.live, []);
      inject.off('read-all-ones');
      using nic = new E1000e(fn, { loopback: true });
      nic.transmit([fill(nic.alloc()!, 1, 60)]);
      expectFrame((await receive(nic, 1))[0]!, 1, 60, 'afterwards');
    } finally {
      fn.close();
    }
  });
});
