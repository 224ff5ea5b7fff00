/**
 * The measurements of the tool in MAC loopback. Everything that comes back is compared with the packets that were
 * sent.
 */
import { performance } from 'node:perf_hooks';
import { setImmediate as tick } from 'node:timers/promises';
import { DmaError } from '../../lib/index.ts';
import type { E1000e } from './driver.ts';
import { forward, TOUCHED } from './forward.ts';
import type { Packet } from './packet.ts';

export interface Result {
  readonly packets: number;
  /** Packets that came back with other bytes or another length. */
  readonly wrong: number;
  /** Total time in microseconds. */
  readonly elapsed: number;
}

/** Milliseconds without a packet, after which the measurement gives up. */
const PATIENCE = 5000;
/** The offset of a frame's payload: two addresses and a type come before it. */
const HEADER = 14;
/** The difference between neighbouring bytes of the payload. */
const STEP = 7;
/** Room for frames that come while others are checked. */
const AT_ONCE = 64;
/** The sizes of the frames in bytes: from the shortest that is not padded to the longest without a VLAN tag. */
export const SIZES = { from: 60, to: 1514 } as const;

/** Sends frames of every size from 60 to 1,514 bytes, as many as asked for, and checks each that comes back. */
export async function verify(nic: E1000e, packets: number): Promise<Result> {
  const batch = new Array<Packet>(AT_ONCE);
  const start = performance.now();
  let sent = 0;
  let seen = 0;
  let wrong = 0;
  while (seen < packets) {
    // The device drops frames for which the receive ring has no room, so no more than that are under way.
    for (; sent < packets && sent - seen < AT_ONCE / 2; sent++) {
      const packet = nic.alloc();
      if (packet === undefined) break;
      fill(packet, sent, sizeOf(sent));
      if (nic.transmit([packet]) === 0) {
        packet.free();
        break;
      }
    }
    const received = nic.receive(batch);
    for (let i = 0; i < received; i++) {
      const packet = batch[i]!;
      if (!isFilled(packet, seen, sizeOf(seen))) wrong++;
      seen++;
      packet.free();
    }
    if (received === 0) await arrival(nic, `${seen} of ${packets} packets came back`);
  }
  return { packets, wrong, elapsed: (performance.now() - start) * 1000 };
}

/** The time in microseconds from a packet's doorbell to its interrupt, measured `count` times. */
export async function latencies(nic: E1000e, count: number): Promise<number[]> {
  const batch = new Array<Packet>(1);
  const took: number[] = [];
  for (let i = 0; i < count; i++) {
    const packet = nic.alloc()!;
    fill(packet, i, SIZES.from);
    const waiting = arrival(nic, 'the packet did not come back');
    const start = performance.now();
    nic.transmit([packet]);
    await waiting;
    took.push((performance.now() - start) * 1000);
    nic.receive(batch);
    batch[0]!.free();
  }
  return took.sort((a, b) => a - b);
}

/** Circulates a batch of packets of `size` bytes by the forwarding loop, until `packets` were forwarded. */
export async function circulate(
  nic: E1000e,
  { packets, size, batch: batchSize }: { packets: number; size: number; batch: number },
): Promise<Result> {
  const batch = new Array<Packet>(batchSize);
  const circling = Math.min(batchSize, nic.capacity >> 1);
  const first = Array.from({ length: circling }, (_, number) => {
    const packet = nic.alloc()!;
    fill(packet, number, size);
    return packet;
  });
  nic.transmit(first);
  const start = performance.now();
  let forwarded = 0;
  while (forwarded < packets) {
    const now = forward(nic, nic, batch);
    forwarded += now;
    if (now === 0) await arrival(nic, `${forwarded} of ${packets} packets were forwarded`);
  }
  const elapsed = (performance.now() - start) * 1000;
  const missing = new Set(first.keys());
  for (let left = circling; left > 0; ) {
    const received = nic.receive(batch, Math.min(left, batchSize));
    for (let i = 0; i < received; i++) {
      const packet = batch[i]!;
      const number = numberOf(packet);
      // Forwarding changes this byte. This line restores it.
      packet.bytes[TOUCHED] = number + TOUCHED * STEP;
      if (isFilled(packet, number, size)) missing.delete(number);
      packet.free();
    }
    left -= received;
    if (received === 0) await arrival(nic, `${circling - left} of ${circling} packets came back`);
  }
  return { packets: forwarded, wrong: missing.size, elapsed };
}

async function arrival(nic: E1000e, what: string): Promise<void> {
  const late = new DmaError('ETIMEDOUT', `${what}, and then nothing for ${PATIENCE} ms`, {
    remedy: 'reset the device',
  });
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(late), PATIENCE);
  try {
    await nic.waitToReceive({ signal: control.signal });
    // Timers and signals get their turn, even if packets come fast.
    await tick();
  } finally {
    clearTimeout(timer);
  }
}

function sizeOf(number: number): number {
  return SIZES.from + (number % (SIZES.to - SIZES.from + 1));
}

/** A packet to a unicast address that no station has. Its type is the one that IEEE 802 gives for experiments. */
function fill(packet: Packet, number: number, length: number): void {
  const { bytes } = packet;
  bytes.fill(0, 0, HEADER);
  bytes[0] = 0x02;
  bytes[12] = 0x88;
  bytes[13] = 0xb5;
  for (let i = HEADER; i < length; i++) bytes[i] = number + i * STEP;
  packet.length = length;
}

/** Below 256, for a packet that was filled. */
function numberOf({ bytes }: Packet): number {
  return (bytes[HEADER]! - HEADER * STEP) & 0xff;
}

function isFilled({ bytes, length }: Packet, number: number, expected: number): boolean {
  if (length !== expected) return false;
  for (let i = HEADER; i < length; i++) if (bytes[i] !== ((number + i * STEP) & 0xff)) return false;
  return true;
}
