/** Frames to send, and what comes back of them. */
import assert from 'node:assert/strict';
import { createHash, randomInt } from 'node:crypto';
import { setImmediate as tick } from 'node:timers/promises';
import type { E1000e } from '../../examples/nic/driver.ts';
import type { Packet } from '../../examples/nic/packet.ts';

/** For random traffic: printed with what fails, and repeated by USERDMA_TEST_SEED. */
export function newSeed(): number {
  return Number(process.env.USERDMA_TEST_SEED ?? randomInt(2 ** 31));
}

/** Numbers below a limit, the same for the same seed. */
export function numbers(seed: number): (limit: number) => number {
  let counter = 0;
  return (limit) => createHash('sha256').update(`${seed}:${counter++}`).digest().readUInt32LE(0) % limit;
}

/** No protocol that anybody looks into: IEEE 802's EtherType for experiments. */
const ETHER_TYPE = [0x88, 0xb5];

/** Fill a packet with frame number `number` of so many bytes; no two frames are alike. */
export function fill(packet: Packet, number: number, length: number): Packet {
  packet.bytes.set(frame(number, length));
  packet.length = length;
  return packet;
}

/** To a unicast address, with contents that depend on number and length. */
function frame(number: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = number * 31 + i * 7 + (i >> 8) * 13 + length;
  bytes[0] = 0x02;
  bytes.set(ETHER_TYPE, 12);
  if (length >= 18) new DataView(bytes.buffer).setUint32(14, number);
  return bytes;
}

/** Whether it is that frame, filled up to 60 bytes with zeros. */
export function expectFrame({ bytes, length }: Packet, number: number, sent: number, where: string): void {
  const expected = new Uint8Array(Math.max(60, sent));
  expected.set(frame(number, sent));
  assert.equal(length, expected.length, `${where}: length of frame ${number}`);
  assert.ok(Buffer.compare(bytes.subarray(0, length), expected) === 0, `${where}: bytes of frame ${number}`);
}

/** A filled packet; there must be one. */
export function packetOf(nic: E1000e, number: number, length: number): Packet {
  const packet = nic.alloc();
  assert.ok(packet !== undefined, 'a free packet');
  return fill(packet, number, length);
}

/** Turns of the event loop after which nothing more is expected. */
const PATIENCE = 20_000;

/** Poll until so many packets are there. */
export async function receive(nic: E1000e, count: number): Promise<Packet[]> {
  const got: Packet[] = [];
  const batch: Packet[] = [];
  for (let turns = 0; got.length < count; turns++) {
    assert.ok(turns < PATIENCE, `${got.length} of ${count} packets came`);
    const received = nic.receive(batch, Math.min(32, count - got.length));
    got.push(...batch.slice(0, received));
    if (received === 0) await tick();
  }
  return got;
}

/** Send all of a list, as the ring takes them. */
export async function transmit(nic: E1000e, packets: readonly Packet[]): Promise<void> {
  for (let sent = 0, turns = 0; sent < packets.length; turns++) {
    assert.ok(turns < PATIENCE, `${sent} of ${packets.length} packets were taken`);
    const taken = nic.transmit(packets, sent);
    sent += taken;
    if (taken === 0) await tick();
  }
}

/** Let everything end that is under way; nothing may come any more. */
export async function settle(nic: E1000e, packets: number): Promise<void> {
  for (let turns = 0; nic.underWay > 0; turns++) {
    assert.ok(turns < PATIENCE, `${nic.underWay} packets are still under way`);
    await tick();
  }
  assert.equal(nic.available, packets, 'every packet came back');
}
