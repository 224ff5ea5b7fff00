/** Batches that the rings of the NIC's driver cannot take or fill: what they leave behind. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Packet, PacketPool } from '../../examples/nic/packet.ts';
import { ReceiveRing } from '../../examples/nic/receive-ring.ts';
import { TransmitRing } from '../../examples/nic/transmit-ring.ts';
import { DmaDevice } from '../../lib/dma/device.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { FakeNic } from '../bench/fake-nic.ts';

const DESCRIPTORS = 16;
const PACKETS = 40;

let dma: DmaDevice;
let nic: FakeNic;
let pool: PacketPool;
let receive: ReceiveRing;
let transmit: TransmitRing;

beforeEach(() => {
  dma = new DmaDevice({
    name: 'test',
    memory: new HeapMemory(),
    addressSpace: new SimulatedAddressSpace({}),
  });
  nic = new FakeNic(dma);
  pool = new PacketPool(dma, PACKETS);
  receive = new ReceiveRing(dma, nic, pool, DESCRIPTORS);
  transmit = new TransmitRing(dma, nic, pool, DESCRIPTORS);
  receive.start();
  transmit.start();
});
afterEach(() => dma.close());

/** Each packet is in one place, once both rings have stopped. */
function expectWhole(held: readonly Packet[]): void {
  receive.stop();
  transmit.stop();
  for (const packet of held) packet.free();
  expect(pool.available).toBe(PACKETS);
  expect(new Set(pool.free.slice(0, PACKETS)).size).toBe(PACKETS);
  expect(pool.packets.filter(({ held }) => held)).toEqual([]);
}

it.each([0, 1, 3, 7])('a batch whose place %i cannot be written gets the packets before it', (place) => {
  for (let round = 0; round < 5; round++) {
    const batch = new Array<Packet>(8);
    Object.defineProperty(batch, place, { value: undefined, writable: false });
    nic.step(8);
    expect(() => receive.receive(batch)).toThrow(TypeError);
    const rest = new Array<Packet>(8);
    expect(receive.receive(rest)).toBe(8 - place);
    const all = [...batch.slice(0, place), ...rest.slice(0, 8 - place)];
    expect(new Set(all).size).toBe(8);
    for (const packet of all) packet.free();
  }
  expect(receive.dropped).toBe(0);
  expectWhole([]);
});

it('a packet that stands in a batch twice is refused as not held, and all are handed back', () => {
  nic.step(4);
  const batch = new Array<Packet>(4);
  expect(receive.receive(batch)).toBe(4);
  const [first, second] = batch as [Packet, Packet];
  expect(() => transmit.transmit([first, second, first])).toThrow(/is not yours/);
  expect(transmit.transmit([first, second])).toBe(2);
  expectWhole(batch.slice(2));
});

it('a batch that reads otherwise the second time gets back the packets that it gave', () => {
  nic.step(5);
  const batch = new Array<Packet>(5);
  expect(receive.receive(batch)).toBe(5);
  const [bad, given, other, ...rest] = batch as [Packet, Packet, Packet, ...Packet[]];
  bad.length = 0;
  other.free();
  let reads = 0;
  const changing = Object.defineProperty([given, bad], 0, { get: () => (reads++ === 0 ? given : other) });
  expect(() => transmit.transmit(changing)).toThrow(/a frame of 0 bytes/);
  expect([given.held, other.held]).toEqual([true, false]);
  expectWhole([bad, given, ...rest]);
});
