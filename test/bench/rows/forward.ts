/**
 * The forwarding loop of examples/nic on a NIC that is only memory, against the same in C. What the NIC itself takes, alone
 * and with nobody to drive it, is measured the same way and taken off, on either side.
 */
import { forward } from '../../../examples/nic/forward.ts';
import { type Packet, PacketPool } from '../../../examples/nic/packet.ts';
import { ReceiveRing } from '../../../examples/nic/receive-ring.ts';
import { TransmitRing } from '../../../examples/nic/transmit-ring.ts';
import { comparators } from '../comparators.ts';
import { FakeNic } from '../fake-nic.ts';
import { median } from '../judge.ts';
import { machine } from '../machine.ts';
import { compare, inC, type Loop, loop, type Sample, type Side } from '../measure.ts';
import type { Row } from '../row.ts';
import { quietRow } from './garbage.ts';

const DESCRIPTORS = 256;
/** Both rings' and what is in between: as many as the loop in C has. */
const PACKETS = 3 * DESCRIPTORS;
const USUAL_BATCH = 32;

interface Rig {
  readonly nic: FakeNic;
  readonly receive: ReceiveRing;
  readonly transmit: TransmitRing;
}

function newRig(): Rig {
  const { dma } = machine();
  // A driver's process has taken memory back before, which tells V8 that any array may lose its memory.
  dma.allocCoherent(4096).free();
  const nic = new FakeNic(dma);
  const pool = new PacketPool(dma, PACKETS);
  const receive = new ReceiveRing(dma, nic, pool, DESCRIPTORS);
  const transmit = new TransmitRing(dma, nic, pool, DESCRIPTORS);
  receive.start();
  transmit.start();
  return { nic, receive, transmit };
}

/** Rounds of a batch each. */
function forwarding(batchSize: number): Loop {
  const run = (count: number, { nic, receive, transmit }: Rig, batch: Packet[]): void => {
    for (let i = 0; i < count; i++) {
      nic.step(batch.length);
      forward(receive, transmit, batch);
    }
  };
  const rig = newRig();
  const batch = new Array<Packet>(batchSize);
  return (count) => run(count, rig, batch);
}

/** The NIC's part of it: both tails go on by a batch. */
function alone(batchSize: number): Side {
  const run = (count: number, nic: FakeNic, packets: number): void => {
    for (let i = 0; i < count; i++) {
      nic.receiveTail = (nic.receiveTail + packets) % DESCRIPTORS;
      nic.transmitTail = (nic.transmitTail + packets) % DESCRIPTORS;
      nic.step(packets);
    }
  };
  const { nic } = newRig();
  return loop('the NIC alone', (count) => run(count, nic, batchSize), batchSize);
}

function less({ label, rounds }: Sample, other: Sample): Sample {
  const taken = median(other.rounds);
  return { label, rounds: rounds.map((round) => round - taken) };
}

function forwardRow(batchSize: number, targets: Row['targets']): Row {
  return {
    name: `forward: a packet, ${batchSize} at a time`,
    targets,
    run() {
      const { forward: inComparison } = comparators();
      const driven = compare(
        loop('forward', forwarding(batchSize), batchSize),
        inC('forward', inComparison(batchSize, true), batchSize),
      );
      const undriven = compare(
        alone(batchSize),
        inC('the NIC alone', inComparison(batchSize, false), batchSize),
      );
      return { ours: less(driven.ours, undriven.ours), theirs: less(driven.theirs, undriven.theirs) };
    },
  };
}

export const forwardRows: readonly Row[] = [
  forwardRow(USUAL_BATCH, [{ time: 18 }, { ratio: 2.5 }]),
  forwardRow(1, [{ time: 35 }]),
  quietRow('packets forwarded', () => {
    const run = forwarding(USUAL_BATCH);
    return (count) => run(count / USUAL_BATCH);
  }),
];
