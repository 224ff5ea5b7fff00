/**
 * AXI4 and AXI4-Stream of every width, on a design whose masters have 32 to 512 data bits and 32 to 64 address bits: narrow and
 * unaligned bursts, and responses out of order.
 */
import { describe, expect, it } from 'vitest';
import { type DmaDevice, dmaBitMask, openPci } from '../../lib/index.ts';
import { RtlModel } from '../../lib/rtl/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { expectNoDmaErrors } from '../../lib/testing/index.ts';
import { pattern } from '../axi-dma/bench.ts';
import {
  BEHAVIOURS,
  busDesign,
  finish,
  HALF,
  MOVERS,
  open,
  readWord,
  STREAMS,
  start,
  writeWord,
} from './bus/bench.ts';
import { missing, TARGETS, type Target } from './designs.ts';

if (missing !== undefined) console.log(`widths of the bus are skipped: ${missing}`);

/** As in matrix.test.ts for beats as wide as the bus; some of them for narrow ones. */
const ALL = {
  lengths: [1, 2, 3, 4, 7, 8, 9, 15, 16, 63, 64, 255, 1000, 2049, 4096, 4097],
  sources: [0, 1, 5, 7, 4090, 4095],
  destinations: [0, 3, 8, 4093],
};
const SOME = { lengths: [1, 3, 8, 65, 700], sources: [0, 5, 4095], destinations: [3, 4093] };

/**
 * All masters at once copy every length from and to every offset, in beats of every size that they have.
 * @returns clocks
 */
async function matrix(target: Target, settings: Readonly<Record<string, number>>): Promise<number> {
  const { simulator, bus } = await open(target, settings);
  for (let narrower = 0; narrower <= 6; narrower++) {
    const ports = [...MOVERS.keys()].filter((port) => MOVERS[port]!.bytes >= 2 ** narrower);
    const { lengths, sources, destinations } = narrower === 0 ? ALL : SOME;
    for (const length of lengths) {
      for (const source of sources) {
        for (const destination of destinations) {
          for (const port of ports) {
            const { bytes } = bus.memories[port]!;
            bytes.set(pattern(HALF, length + port));
            bytes.fill(0xee, HALF);
            const size = Math.log2(MOVERS[port]!.bytes) - narrower;
            start(simulator, bus, port, { length, source, destination, size });
          }
          finish(simulator);
          expect(bus.interrupts.splice(0).sort()).toEqual(ports.map((port) => 1 + port));
          for (const port of ports) {
            const { bytes } = bus.memories[port]!;
            const expected = new Uint8Array(HALF).fill(0xee);
            expected.set(bytes.subarray(source, source + length), destination);
            const which = `${MOVERS[port]!.name} / ${2 ** narrower}: ${length} bytes from ${source} to ${destination}`;
            expect(Buffer.compare(bytes.subarray(HALF), expected), which).toBe(0);
          }
        }
      }
    }
  }
  for (const port of MOVERS.keys()) expect(readWord(simulator, port, 3)).toBe(0n);
  expect(bus.reports).toEqual([]);
  simulator.close();
  return simulator.clock;
}

describe.skipIf(missing !== undefined)('AXI4 masters of 32 to 512 bits', { timeout: 300_000 }, () => {
  for (const { what, settings } of BEHAVIOURS) {
    it(`${what}: every length at every offset, in beats of every size; a process and a module take the same clocks`, async () => {
      const clocks = [];
      for (const target of TARGETS) clocks.push(await matrix(target, settings));
      expect(clocks[0]).toBe(clocks[1]);
    });
  }

  for (const target of TARGETS) {
    it(`${target}: move a beat each clock`, async () => {
      const { simulator, bus } = await open(target);
      for (const [port, { name, bytes }] of MOVERS.entries()) {
        const size = Math.log2(bytes);
        start(simulator, bus, port, { length: 4096, source: 0, destination: 0, size });
        const from = simulator.clock;
        while (bus.interrupts.pop() === undefined) simulator.run(1);
        const beats = 4096 / bytes;
        const bursts = Math.ceil(beats / 256);
        const clocks = simulator.clock - from;
        console.log(
          `  ${name}, ${target}: 4,096 bytes there and back in ${clocks} clocks of ${2 * beats} beats`,
        );
        expect(clocks).toBeLessThanOrEqual(2 * beats + 10 * bursts);
      }
      simulator.close();
    });

    it(`${target}: the bus refuses what is beside the memory, at any width`, async () => {
      const { simulator, bus } = await open(target);
      for (const port of MOVERS.keys()) {
        const { base } = bus.memories[port]!;
        writeWord(simulator, port, 0, base);
        writeWord(simulator, port, 1, base - 4096n);
        writeWord(simulator, port, 2, 64n);
        writeWord(simulator, port, 3, 1n);
        finish(simulator);
        expect(readWord(simulator, port, 3)).toBe(0b1100n);
      }
      expect(bus.reports).toEqual([]);
      simulator.close();
    });

    it(`${target}: responses of different IDs overtake each other, and each word is where it belongs`, async () => {
      const ORDER = 5;
      const orders = new Set<bigint>();
      for (const seed of [0, 1, 2, 3]) {
        const settings = seed === 0 ? {} : { seed, pressure: 20, latency: 30, reorder: 1 };
        const { simulator, bus } = await open(target, settings);
        const { base, bytes } = bus.memories[4]!;
        bytes.set(pattern(64, seed));
        writeWord(simulator, ORDER, 0, base);
        writeWord(simulator, ORDER, 1, base + 4096n);
        writeWord(simulator, ORDER, 3, 1n);
        finish(simulator);
        expect(bus.interrupts).toEqual([1 + ORDER]);
        expect(Buffer.compare(bytes.subarray(4096, 4160), bytes.subarray(0, 64))).toBe(0);
        for (const word of [2, 3]) {
          const order = readWord(simulator, ORDER, word);
          if (seed === 0) expect(order).toBe(0x0123_4567n);
          expect([...order.toString(16).padStart(8, '0')].sort().join('')).toBe('01234567');
          orders.add(order);
        }
        expect(bus.reports).toEqual([]);
        simulator.close();
      }
      expect(orders.size).toBeGreaterThan(4);
    });
  }
});

describe.skipIf(missing !== undefined)('AXI4-Streams of 8 to 512 bits', () => {
  for (const target of TARGETS) {
    for (const { what, settings } of BEHAVIOURS) {
      it(`${target}, ${what}: packets arrive as they were sent, byte by byte`, async () => {
        const { simulator, bus } = await open(target, settings);
        for (const [stream, { bytes, keep }] of STREAMS.entries()) {
          const sent: number[] = [];
          const ends: number[] = [];
          for (const beats of [1, 2, 17, 100]) {
            for (const more of keep ? [0, 1 - bytes, -1] : [0]) {
              const packet = pattern(Math.max(1, beats * bytes + more), beats);
              // In two parts, of which the first as a rule does not fill its last beat.
              const cut = Math.min(5, packet.length - 1);
              simulator.push(stream, packet.subarray(0, cut), false);
              simulator.push(stream, packet.subarray(cut), true);
              sent.push(...packet);
              ends.push(sent.length);
            }
          }
          finish(simulator);
          expect(bus.ends[stream]).toEqual(ends);
          expect(bus.sent[stream]).toEqual(sent);
        }
        expect(bus.reports).toEqual([]);
        simulator.close();
      });
    }
  }
});

describe.skipIf(missing !== undefined)('masters of every width in the machine', () => {
  const config = { vendorId: 0x1234, deviceId: 0x0512, msi: 8 };

  for (const target of TARGETS) {
    it(`${target}: copy between mapped views under their masks; dma-debug has nothing to say; the history has the beat`, async () => {
      const design = await busDesign(target);
      const model = new RtlModel(design, { config, seed: 9, pressure: 25, latency: 10, reorder: true });
      const source = simulate(model, { forceDac: true });
      const fn = await openPci(source, { debug: { print: false } });
      fn.setMaster();
      const copy = async (port: number, dma: DmaDevice): Promise<void> => {
        const { name, bytes } = MOVERS[port]!;
        for (const [length, skew] of [
          [1, 1],
          [bytes + 2, bytes - 1],
          [3000, 3],
        ] as const) {
          const from = pattern(length + skew, port).subarray(skew);
          const into = new Uint8Array(length + skew + 100).fill(0xee);
          const [lent, taken] = [dma.mapSingle(from, 'to-device'), dma.mapSingle(into, 'from-device')];
          const bar = fn.bar(0);
          const at = taken.dmaAddress + BigInt(skew);
          bar.write64LoHi(32 * port, lent.dmaAddress);
          bar.write64LoHi(32 * port + 8, at);
          bar.write32(32 * port + 16, length + Math.log2(bytes) * 2 ** 16 + 63 * 2 ** 24);
          const done = fn.interrupts.msi(port).wait({ timeout: 30_000 });
          bar.write32(32 * port + 24, 1);
          await done;
          expect(bar.read32(32 * port + 24)).toBe(0);
          const end = at + BigInt(length - 1);
          const [write] = model.history(end);
          expect(write).toMatchObject({ value: from[length - 1], written: true, beat: { port: `${name}_` } });
          const lane = end % BigInt(bytes);
          const { strobes } = write!.beat!;
          expect(strobes >> lane, `strobes of ${name}: ${strobes.toString(16)}`).toBe(1n);
          lent.unmap();
          taken.unmap();
          expect(Buffer.compare(into.subarray(skew, skew + length), from)).toBe(0);
          expect(
            [...into.subarray(0, skew), ...into.subarray(skew + length)].every((byte) => byte === 0xee),
          ).toBe(true);
        }
      };
      for (const [port, { addressBits }] of MOVERS.entries()) {
        fn.dma.setMaskAndCoherent(dmaBitMask(addressBits));
        await copy(port, fn.dma);
      }
      fn.clearMaster();
      fn.close();
      expect(source.faults).toEqual([]);
      expectNoDmaErrors(fn);
    });
  }
});
