/** One driver, two worlds: this file runs on the simulation and, inside the virtual machine, on VFIO. */
import { setImmediate as tick } from 'node:timers/promises';
import { E1000e, type E1000eOptions } from '../../examples/nic/driver.ts';
import { forward } from '../../examples/nic/forward.ts';
import type { Packet } from '../../examples/nic/packet.ts';
import { DmaError, openPci } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { checkDmaAfterEach } from '../../lib/testing/index.ts';
import { afterEach, assert, describe, it } from '../harness.ts';
import { owned } from '../owned.ts';
import { expectFrame, fill, newSeed, numbers, packetOf, receive, settle, transmit } from './traffic.ts';
import { type NicWorld, worlds } from './worlds.ts';

const DESCRIPTORS = 64;
const PACKETS = 256;
/** In the receive ring. */
const RESTING = DESCRIPTORS;

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof DmaError && error.code === code;
}

async function open(world: NicWorld, options: E1000eOptions = {}): Promise<E1000e> {
  const fn = await world.open();
  return new E1000e(fn, { descriptors: DESCRIPTORS, packets: PACKETS, loopback: true, ...options });
}

function soon(): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(10_000) };
}

// These tests say what the device has done by the time a call returns: it does not lag here.
checkDmaAfterEach(afterEach, { machine: {} });

for (const world of worlds) {
  describe(`e1000e on ${world.name}`, () => {
    it('has the MAC address of its EEPROM, and a link', async () => {
      using nic = await open(world);
      const words = [0, 1, 2].map((word) => nic.readEeprom(word));
      const bytes = words.flatMap((word) => [word & 0xff, word >> 8]);
      assert.equal(nic.macAddress, bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':'));
      assert.deepEqual(nic.link, { up: true, speed: 1000 });
    });

    it('receives frames of every notable size as they were sent, short ones filled up', async () => {
      using nic = await open(world);
      const lengths = [14, 15, 17, 18, 59, 60, 61, 63, 64, 65, 1024, 1513, 1514, 1515, 1518];
      await transmit(
        nic,
        lengths.map((length, number) => packetOf(nic, number, length)),
      );
      for (const [number, packet] of (await receive(nic, lengths.length)).entries()) {
        expectFrame(packet, number, lengths[number]!, 'one by one');
        packet.free();
      }
      await settle(nic, PACKETS - RESTING);
    });

    it(`keeps contents and order over many rounds of the rings, ${world.packets} random frames`, async () => {
      using nic = await open(world);
      const seed = newSeed();
      const below = numbers(seed);
      const where = `seed ${seed}`;
      const lengths: number[] = [];
      let seen = 0;
      while (seen < world.packets) {
        const packets = Array.from({ length: below(36) }, () => {
          lengths.push(60 + below(1455));
          return packetOf(nic, lengths.length - 1, lengths.at(-1)!);
        });
        await transmit(nic, packets);
        // What stays in the ring never fills it.
        const want = Math.max(0, lengths.length - seen - below(12));
        for (const packet of await receive(nic, want)) {
          expectFrame(packet, seen, lengths[seen]!, where);
          seen++;
          packet.free();
        }
      }
      for (const packet of await receive(nic, lengths.length - seen)) {
        expectFrame(packet, seen, lengths[seen]!, where);
        seen++;
        packet.free();
      }
      await settle(nic, PACKETS - RESTING);
      assert.equal(nic.dropped, 0);
    });

    it('interrupts whoever waits, each time, and nobody else', async () => {
      using nic = await open(world);
      for (let round = 0; round < 30; round++) {
        let woken = false;
        const waiting = nic.waitToReceive(soon()).then(() => {
          woken = true;
        });
        await tick();
        assert.equal(woken, false, 'nothing was sent');
        nic.transmit([packetOf(nic, round, 100)]);
        await waiting;
        const [packet] = await receive(nic, 1);
        expectFrame(packet!, round, 100, `round ${round}`);
        // Polled, with interrupts off.
        nic.transmit([packet!]);
        (await receive(nic, 1))[0]!.free();
        await nic.waitToTransmit(nic.capacity, soon());
      }
    });

    it('ends an aborted wait with its reason, and waits again', async () => {
      using nic = await open(world);
      const reason = new Error('enough');
      const control = new AbortController();
      const waiting = nic.waitToReceive({ signal: control.signal });
      await tick();
      control.abort(reason);
      await assert.rejects(waiting, reason);
      await assert.rejects(nic.waitToReceive({ signal: control.signal }), reason);
      const again = nic.waitToReceive(soon());
      nic.transmit([packetOf(nic, 1, 60)]);
      await again;
      (await receive(nic, 1))[0]!.free();
      await assert.rejects(nic.waitToTransmit(DESCRIPTORS), hasCode('EINVAL'));
    });

    it('forwards what it receives, one byte changed', async () => {
      using nic = await open(world);
      const batch = new Array<Packet>(16);
      const count = 20;
      await transmit(
        nic,
        Array.from({ length: count }, (_, number) => packetOf(nic, number, 64)),
      );
      let forwarded = 0;
      for (let turns = 0; turns < 20_000 && forwarded < 10 * count; turns++) {
        forwarded += forward(nic, nic, batch);
        await tick();
      }
      assert.ok(forwarded >= 10 * count, `${forwarded} packets were forwarded`);
      const changes = new Set<number>();
      for (const packet of await receive(nic, count)) {
        const number = new DataView(packet.bytes.buffer, packet.bytes.byteOffset).getUint32(14);
        const times = (packet.bytes[48]! - (number * 31 + 48 * 7 + 64)) & 0xff;
        packet.bytes[48]! -= times;
        expectFrame(packet, number, 64, `${times} times`);
        changes.add(times);
        packet.free();
      }
      assert.ok(
        [...changes].every((times) => times >= 9 && times <= 12),
        `changed ${[...changes].join(', ')} times`,
      );
      await settle(nic, PACKETS - RESTING);
    });

    it('takes as many packets as the ring has room for, and the rest later', async () => {
      using nic = await open(world, { packets: 4 * PACKETS });
      const many = Array.from({ length: 2 * DESCRIPTORS }, (_, number) => packetOf(nic, number, 60));
      assert.equal(nic.transmit(many), nic.capacity);
      if (world.takesTime) {
        assert.equal(nic.transmit(many, nic.capacity), 0);
        await nic.waitToTransmit(nic.capacity, soon());
      }
      for (const packet of await receive(nic, nic.capacity)) packet.free();
      assert.equal(nic.transmit(many, nic.capacity), nic.capacity);
      for (const [i, packet] of (await receive(nic, nic.capacity)).entries()) {
        expectFrame(packet, nic.capacity + i, 60, 'the second part');
        packet.free();
      }
      for (const packet of many.slice(2 * nic.capacity)) packet.free();
      // As many again, after calls that were put together.
      for (let number = 0; number < nic.capacity; number++) nic.transmit([packetOf(nic, number, 60)]);
      for (const packet of await receive(nic, nic.capacity)) packet.free();
      const more = Array.from({ length: nic.capacity }, (_, number) => packetOf(nic, number, 60));
      assert.equal(nic.transmit(more), nic.capacity);
      for (const packet of await receive(nic, nic.capacity)) packet.free();
      await settle(nic, 4 * PACKETS - RESTING);
    });

    it('loses what no descriptor is there for, and nothing else', async () => {
      using nic = await open(world, { packets: 4 * PACKETS });
      const count = 2 * DESCRIPTORS;
      await transmit(
        nic,
        Array.from({ length: count }, (_, number) => packetOf(nic, number, 60)),
      );
      await nic.waitToTransmit(nic.capacity, soon());
      const kept = await receive(nic, nic.capacity);
      for (const [number, packet] of kept.entries()) {
        expectFrame(packet, number, 60, 'the first of too many');
        packet.free();
      }
      assert.equal(nic.receive([], 32), 0);
      const { packetsSent, packetsReceived } = nic.statistics();
      assert.deepEqual([packetsSent, packetsReceived], [count, nic.capacity]);
      nic.transmit([packetOf(nic, count, 60)]);
      const [next] = await receive(nic, 1);
      expectFrame(next!, count, 60, 'afterwards');
      next!.free();
      await settle(nic, 4 * PACKETS - RESTING);
    });

    it('receives nothing while every packet is out, and loses none by it', async () => {
      using nic = await open(world, { packets: DESCRIPTORS + 8 });
      const held: Packet[] = [];
      for (let packet = nic.alloc(); packet !== undefined; packet = nic.alloc()) held.push(packet);
      assert.equal(held.length, 8);
      assert.equal(nic.transmit(held.map((packet, number) => fill(packet, number, 60))), 8);
      // Their buffers are what the next ones go to, as soon as it is looked.
      const got = await receive(nic, 8);
      nic.transmit(got, 0, 4);
      await nic.waitToTransmit(nic.capacity, soon());
      got.splice(0, 4);
      got.push(...(await receive(nic, 4)));
      assert.equal(nic.available, 0);
      nic.transmit(got, 0, 1);
      await nic.waitToReceive(soon());
      const others: Packet[] = [];
      for (let packet = nic.alloc(); packet !== undefined; packet = nic.alloc()) others.push(packet);
      assert.equal(nic.receive([], 8), 0);
      for (const packet of others) packet.free();
      expectFrame((await receive(nic, 1))[0]!, 4, 60, 'the one that waited');
    });

    it('counts packets and octets', async () => {
      using nic = await open(world);
      const lengths = [60, 100, 1514];
      const octets = lengths.reduce((sum, length) => sum + length, 0);
      for (let round = 1; round <= 3; round++) {
        nic.transmit(lengths.map((length, number) => packetOf(nic, number, length)));
        for (const packet of await receive(nic, lengths.length)) packet.free();
        const counted = nic.statistics();
        assert.equal(counted.packetsSent, round * 3);
        assert.equal(counted.packetsReceived, round * 3);
        assert.equal(counted.octetsReceived, round * (octets + 4 * 3));
        // QEMU leaves out the CRC of what is sent.
        assert.ok(
          [round * octets, round * (octets + 4 * 3)].includes(counted.octetsSent),
          `${counted.octetsSent}`,
        );
      }
    });

    it('is reset in the middle of traffic, again and again, without losing a buffer', async () => {
      using nic = await open(world);
      for (let round = 0; round < 20; round++) {
        const own = packetOf(nic, 7, 777);
        await transmit(
          nic,
          Array.from({ length: 50 }, (_, number) => packetOf(nic, number, 1000)),
        );
        const some = round % 2 === 0 ? [] : await receive(nic, 3);
        nic.reset();
        assert.equal(nic.receive([], 32), 0, 'what was in the rings is gone');
        assert.equal(nic.available, PACKETS - RESTING - 1 - some.length);
        for (const packet of some) packet.free();
        nic.transmit([own]);
        const [packet] = await receive(nic, 1);
        expectFrame(packet!, 7, 777, `round ${round}`);
        packet!.free();
      }
      await settle(nic, PACKETS - RESTING);
      assert.ok(nic.statistics().packetsSent >= 20, 'statistics go on');
    });

    it('keeps waiting over a reset, and goes on when there is something to go on with', async () => {
      using nic = await open(world);
      const full = Array.from({ length: nic.capacity }, (_, number) => packetOf(nic, number, 1514));
      nic.transmit(full);
      const room = nic.waitToTransmit(nic.capacity, soon());
      nic.reset();
      await room;
      const arrival = nic.waitToReceive(soon());
      nic.reset();
      await transmit(nic, [packetOf(nic, 7, 100)]);
      await arrival;
      for (const packet of await receive(nic, 1)) {
        expectFrame(packet, 7, 100, 'after the reset');
        packet.free();
      }
      await settle(nic, PACKETS - RESTING);
    });

    it('refuses wrong packets, and takes none of their batch', async () => {
      using nic = await open(world);
      using other = await owned(
        openOther(),
        (fn) => new E1000e(fn, { descriptors: 8, packets: 16, loopback: true }),
      );
      const good = packetOf(nic, 1, 60);
      const bad = packetOf(nic, 2, 60);
      for (const length of [
        13,
        0,
        -1,
        59.5,
        1519,
        2048,
        2 ** 32,
        Number.NaN,
        undefined as unknown as number,
      ]) {
        bad.length = length;
        assert.throws(() => nic.transmit([good, bad]), hasCode('EINVAL'), `${length} bytes`);
      }
      const freed = packetOf(nic, 3, 60);
      freed.free();
      assert.throws(() => freed.free(), hasCode('EINVAL'));
      const foreign = packetOf(other, 4, 60);
      const nothing = undefined as unknown as Packet;
      for (const wrong of [freed, foreign, good, nothing]) {
        assert.throws(() => nic.transmit([good, wrong]), hasCode('EINVAL'));
      }
      for (const [from, count] of [
        [0, 2],
        [2, 0],
        [-1, 1],
        [0, -1],
        [0, Number.NaN],
        [0, 0.5],
        [0.5, 0.5],
      ] as const) {
        assert.throws(() => nic.transmit([good], from, count), hasCode('EINVAL'), `${count} from ${from}`);
      }
      for (const max of [-1, 0.5, Number.NaN, 2 ** 32]) {
        assert.throws(() => nic.receive([], max), hasCode('EINVAL'), `${max} packets`);
      }
      assert.equal(nic.underWay, 0);
      assert.equal(nic.transmit([good]), 1);
      assert.throws(() => nic.transmit([good]), hasCode('EINVAL'), 'sent twice');
      assert.throws(() => good.free(), hasCode('EINVAL'), 'freed while it is sent');
      expectFrame((await receive(nic, 1))[0]!, 1, 60, 'the good one');
    });

    it('refuses what it cannot be given, and leaves nothing behind', async () => {
      using fn = await world.open();
      for (const descriptors of [0, 4, 12, 4104, 2 ** 24, 1.5, Number.NaN]) {
        assert.throws(() => new E1000e(fn, { descriptors }), hasCode('EINVAL'), `${descriptors} descriptors`);
      }
      for (const packets of [0, -1, 2.5, 2 ** 40]) {
        assert.throws(() => new E1000e(fn, { packets }), hasCode('EINVAL'), `${packets} packets`);
      }
      assert.throws(() => new E1000e(fn, { descriptors: 64, packets: 63 }), hasCode('ENOMEM'));
      assert.deepEqual(fn.dma.live, []);
      assert.equal(fn.busMaster, false);
      using edu = await openPci(simulate(new EduModel()));
      assert.throws(() => new E1000e(edu), hasCode('ENODEV'));
      using nic = new E1000e(fn, { loopback: true });
      assert.equal(nic.transmit([packetOf(nic, 1, 60)]), 1);
    });

    it('closes with packets in flight and somebody waiting, and leaves nothing behind', async () => {
      for (let round = 0; round < 10; round++) {
        const nic = await open(world);
        const packet = packetOf(nic, 1, 60);
        const waiting = nic.waitToReceive();
        const failed = assert.rejects(waiting, hasCode('ENODEV'));
        nic.transmit(Array.from({ length: 40 }, (_, number) => packetOf(nic, number, 1514)));
        const ended = world.takesTime ? failed : waiting;
        nic.close();
        nic.close();
        if (world.takesTime) await ended;
        else await Promise.allSettled([waiting, failed]);
        assert.deepEqual(nic.fn.dma.live, []);
        assert.equal(packet.bytes.length, 0);
        assert.throws(() => nic.transmit([packet]), hasCode('ENODEV'));
        assert.throws(() => nic.receive([], 1), hasCode('ENODEV'));
        assert.throws(() => nic.alloc(), hasCode('ENODEV'));
        assert.throws(() => nic.reset(), hasCode('ENODEV'));
        assert.throws(() => nic.statistics(), hasCode('ENODEV'));
        await assert.rejects(nic.waitToReceive(), hasCode('ENODEV'));
      }
    });
  });
}

/** A second NIC, whose packets are not the first one's. */
async function openOther() {
  const { simulateE1000e } = await import('../../examples/nic/model.ts');
  return openPci(simulateE1000e());
}
