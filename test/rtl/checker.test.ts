/** Each rule of the checker, broken at every width of an AXI4 master and of an AXI4-Stream (bus/mover.v, bus/slice.v). */
import { describe, expect, it } from 'vitest';
import { pattern } from '../axi-dma/bench.ts';
import { MOVERS, type Mover, open, STREAMS, start } from './bus/bench.ts';
import { missing, TARGETS } from './designs.ts';

if (missing !== undefined) console.log(`the checker of the bus is skipped: ${missing}`);

/** By number of the fault in mover.v: what the checker says. */
const RULES: readonly (readonly [fault: number, what: string, says: (mover: Mover) => RegExp])[] = [
  [
    1,
    'a burst across 4 KiB',
    ({ name }) => new RegExp(`${name}_a[rw]: the burst at .* crosses a 4 KiB boundary`),
  ],
  [2, 'WLAST too early', ({ name }) => new RegExp(`${name}_wlast: in beat \\d+ of \\d+ already`)],
  [3, 'no WLAST', ({ name }) => new RegExp(`${name}_wlast: in beat (\\d+) of \\1 it is missing`)],
  [4, 'WVALID withdrawn', ({ name }) => new RegExp(`${name}_wvalid was withdrawn`)],
  [5, 'the top bit of ARADDR changed', ({ name }) => new RegExp(`${name}_ar: the payload changed`)],
  [6, 'a strobe before the beat', ({ name }) => new RegExp(`${name}_wstrb: 0x[0-9a-f]+ is outside`)],
  [7, 'a burst that is not INCR', ({ name }) => new RegExp(`${name}_aw: the burst is not INCR`)],
  [
    8,
    'beats wider than the bus',
    ({ name, bytes }) => new RegExp(`${name}_aw: beats of ${2 * bytes} bytes on a bus of ${bytes}`),
  ],
  [9, 'the top byte of WDATA changed', ({ name }) => new RegExp(`${name}_w: the payload changed`)],
  [10, 'ARVALID withdrawn', ({ name }) => new RegExp(`${name}_arvalid was withdrawn`)],
];

describe.skipIf(missing !== undefined)('the checker of the bus', () => {
  for (const target of TARGETS) {
    for (const [fault, what, says] of RULES) {
      it(`${target}: ${what} is reported at each width`, async () => {
        const { simulator, bus } = await open(target, {
          seed: 5,
          pressure: 60,
          latency: 12,
          'pin.fault': fault,
        });
        for (const [port, mover] of MOVERS.entries()) {
          bus.reports.length = 0;
          // Its first page ends within three beats, and its first beat is not whole.
          const size = Math.log2(mover.bytes);
          start(simulator, bus, port, { length: 600, source: 3801, destination: 3803, size, mostBeats: 3 });
          for (let i = 0; i < 100 && bus.interrupts.length === 0; i++) simulator.run(100);
          expect(bus.interrupts.splice(0)).toEqual([1 + port]);
          expect(bus.reports).toContainEqual(expect.stringMatching(says(mover)));
          expect(bus.reports.every((text) => /^clock \d+: /.test(text))).toBe(true);
        }
        simulator.close();
      });
    }

    for (const [fault, says] of [
      [11, 'tvalid was withdrawn'],
      [12, 't: the payload changed'],
    ] as const) {
      it(`${target}: m*_${says} is reported at each width of a stream`, async () => {
        const { simulator, bus } = await open(target, { seed: 2, pressure: 50, 'pin.fault': fault });
        for (const [stream, { name }] of STREAMS.entries()) {
          bus.reports.length = 0;
          simulator.push(stream, pattern(1024), true);
          for (let i = 0; i < 100 && bus.ends[stream]!.length === 0; i++) simulator.run(100);
          expect(bus.reports).toContainEqual(expect.stringContaining(`m${name}_${says}`));
        }
        simulator.close();
      });
    }
  }
});
