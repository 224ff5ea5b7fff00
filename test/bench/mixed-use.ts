/**
 * What a driver does before and between the calls that are measured. V8 optimises code for what it has seen it do: a
 * process that never did anything but one call in a loop would show figures no program ever gets.
 */
import type { DmaDirection } from '../../lib/index.ts';
import { type Machine, machine } from './machine.ts';

const DIRECTIONS: readonly DmaDirection[] = ['to-device', 'from-device', 'bidirectional'];
const ROUNDS = 300;

/** Memory of every kind that can be mapped, mapped in every direction, synced in whole and in part; lists; pools. */
export function mixedUse(bench: Machine = machine()): void {
  const { dma } = bench;
  const pools = [16, 64, 4096].map((size) => dma.createPool(`of ${size}`, { size }));
  const foreign = new Uint8Array(100_000);
  for (let round = 0; round < ROUNDS; round++) {
    const direction = DIRECTIONS[round % DIRECTIONS.length]!;
    const blocks = pools.flatMap((pool) => [pool.alloc()!, pool.zalloc()!]);
    const ring = dma.allocCoherent(round % 2 === 0 ? 4096 : 100);
    const turns = dma.allocNoncoherent(8192, 'bidirectional');
    const views: ArrayBufferView[] = [
      ring.bytes,
      new Uint32Array(ring.buffer, 16, 8),
      turns.bytes,
      ...blocks.map(({ bytes }) => bytes),
      foreign.subarray(round, round + 1500),
      Buffer.from('a message'),
      new DataView(new ArrayBuffer(64), 3, 8),
      new Float64Array(10_000),
    ];
    for (const view of views) {
      const mapping = dma.mapSingle(view, direction);
      void mapping.dmaAddress;
      mapping.syncForCpu();
      mapping.syncForDevice(1, 4);
      mapping.unmap();
    }
    const list = dma.mapSg(views, direction);
    list.syncForCpu();
    list.syncForDevice();
    list.unmap();
    void dma.addressOf(ring.bytes);
    void dma.addressOf(new Uint8Array(ring.buffer, 8));
    for (const block of blocks) block.free();
    ring.free();
    turns.free();
  }
}
