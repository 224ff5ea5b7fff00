/** Measures packets through the loop, and compares each with the packet that was sent. */
import { performance } from 'node:perf_hooks';
import type { DmaDevice, NoncoherentBuffer } from '../../lib/index.ts';
import type { AxiDma } from './driver.ts';

export interface Load {
  /** Bytes of a packet. */
  readonly size: number;
  /** The number of packets under way at once. */
  readonly depth: number;
  /** The total number of packets, rounded up to a multiple of `depth`. */
  readonly packets: number;
}

export interface Throughput {
  readonly packets: number;
  /** Microseconds from the first packet to the last. */
  readonly elapsed: number;
  /** Packets that came back with other bytes, or another length. */
  readonly wrong: number;
}

interface Slot {
  readonly from: NoncoherentBuffer;
  readonly to: NoncoherentBuffer;
}

/** Sends `depth` packets at a time. Each has memory of its own, and syncs change its owner. */
export async function measure(
  axi: AxiDma,
  dma: DmaDevice,
  { size, depth, packets: wanted }: Load,
): Promise<Throughput> {
  const slots = Array.from({ length: depth }, (_, i) => newSlot(dma, size, i));
  let packets = 0;
  let wrong = 0;
  const start = performance.now();
  while (packets < wanted) {
    const good = await Promise.all(slots.map((slot) => once(axi, slot)));
    wrong += good.filter((one) => !one).length;
    packets += depth;
  }
  const elapsed = (performance.now() - start) * 1000;
  for (const { from, to } of slots) {
    from.free();
    to.free();
  }
  return { packets, elapsed, wrong };
}

function newSlot(dma: DmaDevice, size: number, seed: number): Slot {
  const from = dma.allocNoncoherent(size, 'to-device');
  for (let i = 0; i < size; i++) from.bytes[i] = i * 31 + seed;
  return { from, to: dma.allocNoncoherent(size, 'from-device') };
}

/** @returns true if the packet came back as it was sent */
async function once(axi: AxiDma, { from, to }: Slot): Promise<boolean> {
  to.bytes.fill(0);
  const [length] = await Promise.all([axi.s2mm.receive(to.bytes), axi.mm2s.send(from.bytes)]);
  return length === from.size && Buffer.compare(from.bytes, to.bytes) === 0;
}
