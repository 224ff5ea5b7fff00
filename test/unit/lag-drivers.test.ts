/**
 * The drivers of the examples, which make no mistake, on devices that lag: whatever PCI Express lets a device do, dma-debug
 * has nothing to say and every byte is right. The edu driver has the like in test/mistakes/correct.test.ts.
 * USERDMA_TEST_RUNS says how many rounds each driver makes; USERDMA_TEST_SEED repeats those of a failure.
 */
import { setImmediate as tick } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { E1000e } from '../../examples/nic/driver.ts';
import { simulateE1000e } from '../../examples/nic/model.ts';
import type { Packet } from '../../examples/nic/packet.ts';
import { NvmeController } from '../../examples/nvme/controller.ts';
import { VirtioBlk } from '../../examples/virtio-blk/driver.ts';
import { VirtioBlkModel } from '../../examples/virtio-blk/model.ts';
import { openPci, type PciFunction } from '../../lib/index.ts';
import { NvmeModel, type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { bench, clean, cores, loopback, pattern } from '../axi-dma/bench.ts';
import { expectFrame, fill } from '../nic/traffic.ts';
import { Random } from '../random.ts';

const ROUNDS = Number(process.env.USERDMA_TEST_RUNS ?? 200);
const FIRST_SEED = new Random().seed;
/** Rounds until there is another machine. */
const ROUNDS_PER_MACHINE = 25;
const MILLISECONDS_PER_ROUND = 500;
const BLOCK = 512;
/** Turns of the event loop in which everything that is under way arrives. */
const PATIENCE = 20_000;

/** A machine of any kind, and how slow its device is. */
function anyMachine(random: Random): SimulateOptions {
  return {
    lag: { seed: random.below(2 ** 32), microseconds: 1 + random.below(1000) },
    iommu: random.below(4) > 0,
    coherent: random.below(3) > 0,
    forceDac: random.below(2) === 0,
    foreignPageOffset: random.below(256) * 16,
  };
}

function anyLatency(random: Random): number {
  return random.below(3) === 0 ? 0 : random.size(10_000);
}

function expectNothing(fn: PciFunction): void {
  expect(fn.dma.debug!.reports.map(({ kind, message }) => `${kind}: ${message}`)).toEqual([]);
}

type Rounds = (random: Random, rounds: number) => Promise<void>;

const nvme: Rounds = async (random, rounds) => {
  const source = simulate(new NvmeModel({ latency: anyLatency(random) }), anyMachine(random));
  const fn = await openPci(source, { debug: { print: false } });
  const controller = await NvmeController.open(fn, {
    queues: 1 + random.below(3),
    depth: 1 + random.below(8),
    completions: random.below(2) === 0 ? 'poll' : 'interrupt',
    sgl: random.below(2) === 0,
  });
  let disk = await controller.namespace(1);
  for (let round = 0; round < rounds; round++) {
    const transfers = Array.from({ length: 1 + random.below(6) }, (_, i) => {
      const bytes = random.unaligned((1 + random.below(60)) * BLOCK);
      bytes.set(random.bytes(bytes.length));
      return { lba: i * 64, bytes };
    });
    await Promise.all(transfers.map(({ lba, bytes }) => disk.write(lba, bytes)));
    const back = transfers.map(({ bytes }) => random.unaligned(bytes.length));
    await Promise.all(transfers.map(({ lba }, i) => disk.read(lba, back[i]!)));
    for (const [i, { bytes }] of transfers.entries()) expect(Buffer.compare(back[i]!, bytes)).toBe(0);
    expectNothing(fn);
    if (random.below(20) === 0) {
      // Some of it fails: the controller is reset in the middle of it.
      const lost = Promise.allSettled(transfers.map(({ lba, bytes }) => disk.write(lba, bytes)));
      await controller.reset();
      await lost;
      disk = await controller.namespace(1);
    }
  }
  await controller.close();
  expectNothing(fn);
  expect(source.faults).toEqual([]);
};

const nic: Rounds = async (random, rounds) => {
  const source = simulateE1000e({ packetTime: random.below(3) }, anyMachine(random));
  const fn = await openPci(source, { debug: { print: false } });
  const driver = new E1000e(fn, { loopback: true });
  const batch: Packet[] = [];
  for (let round = 0; round < rounds; round++) {
    const lengths = Array.from({ length: 1 + random.below(16) }, () => 60 + random.below(1400));
    const packets = lengths.map((length, number) => fill(driver.alloc()!, number, length));
    for (let sent = 0, turns = 0; sent < packets.length; turns++) {
      expect(turns).toBeLessThan(PATIENCE);
      sent += driver.transmit(packets, sent);
      await tick();
    }
    if (random.below(2) === 0) await driver.waitToReceive({ signal: AbortSignal.timeout(10_000) });
    for (let seen = 0, turns = 0; seen < lengths.length; turns++) {
      expect(turns).toBeLessThan(PATIENCE);
      const received = driver.receive(batch, lengths.length - seen);
      for (const packet of batch.slice(0, received)) {
        expectFrame(packet, seen, lengths[seen]!, `round ${round}`);
        packet.free();
        seen++;
      }
      await tick();
    }
    expectNothing(fn);
  }
  driver.close();
  fn.close();
  expectNothing(fn);
  expect(source.faults).toEqual([]);
};

const axi: Rounds = async (random, rounds) => {
  const { core } = cores[random.below(cores.length)]!;
  const run = await bench({ core, machine: anyMachine(random), line: random.below(3) === 0 });
  for (let round = 0; round < rounds; round++) {
    const length = 1 + random.below(12_000);
    const sent = random.unaligned(length);
    sent.set(pattern(length, round));
    const into = random.unaligned(length + random.below(100));
    expect(await loopback(run.axi, sent, into)).toBe(length);
    expect(Buffer.compare(into.subarray(0, length), sent)).toBe(0);
    expectNothing(run.fn);
  }
  clean(run);
};

const virtio: Rounds = async (random, rounds) => {
  const source = simulate(new VirtioBlkModel({ latency: anyLatency(random) }), anyMachine(random));
  const fn = await openPci(source, { debug: { print: false } });
  const disk = await VirtioBlk.open(fn, { queueSize: 2 ** (2 + random.below(6)) });
  for (let round = 0; round < rounds; round++) {
    const transfers = Array.from({ length: 1 + random.below(6) }, (_, i) => {
      const bytes = random.unaligned((1 + random.below(60)) * BLOCK);
      bytes.set(random.bytes(bytes.length));
      return { sector: i * 64, bytes };
    });
    await Promise.all(transfers.map(({ sector, bytes }) => disk.write(sector, bytes)));
    const back = transfers.map(({ bytes }) => random.unaligned(bytes.length));
    await Promise.all(transfers.map(({ sector }, i) => disk.read(sector, back[i]!)));
    for (const [i, { bytes }] of transfers.entries()) expect(Buffer.compare(back[i]!, bytes)).toBe(0);
    expectNothing(fn);
    if (random.below(20) === 0) {
      // Some of it fails: the device is reset in the middle of it.
      const lost = Promise.allSettled(transfers.map(({ sector, bytes }) => disk.write(sector, bytes)));
      await disk.restart();
      await lost;
    }
  }
  await disk.close();
  expectNothing(fn);
  expect(source.faults).toEqual([]);
};

it.each([
  ['NVMe', nvme],
  ['NIC', nic],
  ['AXI DMA', axi],
  ['virtio-blk', virtio],
] as const)(
  `%s: nothing is reported in ${ROUNDS} rounds, from seed ${FIRST_SEED}`,
  async (_name, rounds) => {
    for (let done = 0; done < ROUNDS; done += ROUNDS_PER_MACHINE) {
      const random = new Random(FIRST_SEED + done / ROUNDS_PER_MACHINE);
      try {
        await rounds(random, Math.min(ROUNDS_PER_MACHINE, ROUNDS - done));
      } catch (error) {
        throw new Error(`USERDMA_TEST_SEED=${random.seed} repeats it`, { cause: error });
      }
    }
  },
  ROUNDS * MILLISECONDS_PER_ROUND,
);
