/** Every length at every pair of offsets, across pages, with and without back-pressure: no byte differs, nothing is reported. */
import { describe, expect, it } from 'vitest';
import { Edu, MAX_TRANSFER } from '../../examples/edu/driver.ts';
import { openPci } from '../../lib/index.ts';
import type { RtlModel } from '../../lib/rtl/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { expectNoDmaErrors } from '../../lib/testing/index.ts';
import { bench, clean, loopback, pattern } from '../axi-dma/bench.ts';
import { design, missing, TARGETS } from './designs.ts';
import { FlatMemory } from './memory.ts';
import { type Behaviour, eduModel } from './models.ts';

const LENGTHS = [1, 2, 3, 4, 7, 8, 9, 15, 16, 63, 64, 255, 1000, 2049, 4096, 4097];
/** A beat is 8 bytes, a page 4,096. */
const SOURCES = [0, 1, 5, 7, 4090, 4095];
const DESTINATIONS = [0, 3, 8, 4093];

const BEHAVIOURS: readonly { readonly what: string; readonly behaviour: Behaviour }[] = [
  { what: 'without back-pressure', behaviour: {} },
  { what: 'with back-pressure', behaviour: { seed: 11, pressure: 30, latency: 20, reorder: true } },
];

/** Bytes around what is written, which must stay. */
const GUARD = 64;

/** @param copy moves the bytes of one view to another */
async function matrix(copy: (from: Uint8Array, to: Uint8Array) => Promise<unknown>): Promise<number> {
  let copies = 0;
  for (const length of LENGTHS) {
    for (const source of SOURCES) {
      const from = pattern(source + length, length + source).subarray(source);
      for (const destination of DESTINATIONS) {
        const memory = new Uint8Array(destination + length + GUARD).fill(0xee);
        const to = memory.subarray(destination, destination + length);
        await copy(from, to);
        const which = `${length} bytes from ${source} to ${destination}`;
        expect(Buffer.compare(to, from), which).toBe(0);
        const beside = Buffer.concat([
          memory.subarray(0, destination),
          memory.subarray(destination + length),
        ]);
        expect(
          beside.every((byte) => byte === 0xee),
          `beside ${which}`,
        ).toBe(true);
        copies++;
      }
    }
  }
  return copies;
}

const ALL = LENGTHS.length * SOURCES.length * DESTINATIONS.length;

if (missing !== undefined) console.log(`the matrix of copies in RTL is skipped: ${missing}`);
else for (const target of TARGETS) await design('edu', target);

describe.skipIf(missing !== undefined)('every length at every offset', { timeout: 300_000 }, () => {
  for (const target of TARGETS) {
    for (const { what, behaviour } of BEHAVIOURS) {
      it(`edu, ${target}, ${what}`, async () => {
        const source = simulate(await eduModel(target, 40, behaviour));
        const fn = await openPci(source, { debug: { print: false } });
        const edu = new Edu(fn, { dmaBits: 40 });
        const copies = await matrix(async (from, to) => {
          for (let at = 0; at < from.length; at += MAX_TRANSFER) {
            await edu.send(from.subarray(at, at + MAX_TRANSFER));
            await edu.receive(to.subarray(at, at + MAX_TRANSFER));
          }
        });
        expect(copies).toBe(ALL);
        edu.close();
        expect(source.faults).toEqual([]);
        expectNoDmaErrors(fn);
      });

      it(`AXI DMA, ${target}, ${what}`, async () => {
        const run = await bench({ core: { rtl: target, addressBits: 40 }, behaviour });
        expect(await matrix((from, to) => loopback(run.axi, from, to))).toBe(ALL);
        clean(run);
      });
    }
  }
});

describe.skipIf(missing !== undefined)('bytes a clock without back-pressure', () => {
  for (const target of TARGETS) {
    for (const [what, source, destination, command] of [
      ['read', 0x10000, 0x40000, 1],
      ['written', 0x40000, 0x10000, 3],
    ] as const) {
      it(`edu, ${target}, ${what}: at least 7.5 of 8`, async () => {
        const memory = new FlatMemory();
        const simulator = (await design('edu', target)).open(memory);
        simulator.set('pin.dma_bits', 40);
        const registers = { 128: source, 132: 0, 136: destination, 140: 0, 144: 4096, 152: command | 4 };
        for (const [address, value] of Object.entries(registers))
          simulator.write(Number(address), 4, value, 0);
        const start = simulator.clock;
        while (memory.interrupts.length === 0) simulator.run(1);
        const clocks = simulator.clock - start;
        simulator.close();
        console.log(
          `  edu, ${target}, 4,096 bytes ${what}: ${clocks} clocks, ${(4096 / clocks).toFixed(2)} bytes a clock`,
        );
        expect(4096 / clocks).toBeGreaterThanOrEqual(7.5);
      });
    }

    it(`AXI DMA, ${target}, there and back: at least 7.5 of 8`, async () => {
      const run = await bench({ core: { rtl: target, scatterGather: false, lengthBits: 23 } });
      const { simulator } = run.source.model as RtlModel;
      const bytes = pattern(1 << 18);
      const to = new Uint8Array(bytes.length);
      await loopback(run.axi, bytes.subarray(0, 64), to.subarray(0, 64));
      const start = simulator.clock;
      await loopback(run.axi, bytes, to);
      const clocks = simulator.clock - start;
      console.log(
        `  AXI DMA, ${target}, ${bytes.length} bytes: ${clocks} clocks, ${(bytes.length / clocks).toFixed(2)} bytes a clock`,
      );
      expect(bytes.length / clocks).toBeGreaterThanOrEqual(7.5);
      clean(run);
    });
  }
});
