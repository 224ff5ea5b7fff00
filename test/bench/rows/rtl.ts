/**
 * Designs in RTL: a register access bare and through the library, the simulated clock of a design that is busy, and copies of
 * the state. None where Verilator is missing.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { openPci } from '../../../lib/index.ts';
import type { Simulator } from '../../../lib/rtl/index.ts';
import { buildDesign } from '../../../lib/rtl/index.ts';
import { simulate } from '../../../lib/sim/index.ts';
import { built, design, missing, sourcesOf, TARGETS, type Target } from '../../rtl/designs.ts';
import { FlatMemory } from '../../rtl/memory.ts';
import { eduModel } from '../../rtl/models.ts';
import { type Comparison, compare, loop, QUICK } from '../measure.ts';
import type { Row } from '../row.ts';

/** Nanoseconds that a bare register access may take. */
const BARE = { process: 15_000, wasm: 5000 } as const;

async function simulator(target: Target): Promise<{ simulator: Simulator; memory: FlatMemory }> {
  const memory = new FlatMemory();
  const opened = (await design('edu', target)).open(memory);
  opened.set('pin.dma_bits', 40);
  return { simulator: opened, memory };
}

function bare(simulator: Simulator) {
  return loop('simulator.read', (count) => {
    for (let i = 0; i < count; i++) simulator.read(0x04, 4);
  });
}

/** Clocks in which the DMA engine moves bytes: 8 KiB of there and back at a time. */
function clocks(simulator: Simulator, interrupts: number[]): (count: number) => void {
  const registers = { 128: 0x10000, 136: 0x40000, 144: 4096 };
  for (const [address, value] of Object.entries(registers)) simulator.write(Number(address), 4, value, 0);
  return (count) => {
    for (const end = simulator.clock + count; simulator.clock < end; ) {
      interrupts.length = 0;
      simulator.write(0x98, 4, 5, 0);
      while (interrupts.length === 0 && simulator.clock < end) simulator.run(100);
    }
  };
}

/** A copy of the state of a design of 4 MiB, and the other way. */
async function copies(): Promise<{ simulator: Simulator; state: readonly Uint8Array[]; bytes: Uint8Array }> {
  const options = { sources: [join('test', 'rtl', 'memory.v')], top: 'memory' };
  const simulator = (await built('memory', 'wasm', options)).open(new FlatMemory());
  const state = simulator.snapshot!();
  return { simulator, state, bytes: new Uint8Array(Buffer.concat(state)) };
}

const everyRow = TARGETS.flatMap((target): Row[] => [
  {
    name: `rtl: read of a register of edu, bare, ${target}`,
    targets: [{ time: BARE[target] }],
    async run() {
      const { simulator: ours } = await simulator(target);
      const result = compare(bare(ours), bare(ours));
      ours.close();
      return result;
    },
  },
  {
    name: `rtl: read of a register of edu, through the library, ${target}`,
    targets: [{ ratio: 2 }],
    async run() {
      const { simulator: theirs } = await simulator(target);
      const fn = await openPci(simulate(await eduModel(target, 40)));
      const bar = fn.bar(0);
      const ours = loop('fn.bar(0).read32', (count) => {
        for (let i = 0; i < count; i++) bar.read32(0x04);
      });
      const result = compare(ours, bare(theirs));
      fn.close();
      theirs.close();
      return result;
    },
  },
  {
    name: `rtl: a clock of edu, DMA under way, ${target}`,
    // 1 MHz.
    targets: [{ time: 1000 }],
    async run() {
      const { simulator: ours, memory } = await simulator(target);
      const side = loop('simulator.run', clocks(ours, memory.interrupts));
      const result = compare(side, side);
      ours.close();
      return result;
    },
  },
]);

const once: readonly Row[] = [
  {
    name: 'rtl: copy of a state of 4 MiB',
    targets: [{ time: 5e6 }],
    async run(): Promise<Comparison> {
      const { simulator, bytes } = await copies();
      const ours = loop(`snapshot of ${bytes.length} bytes, and a clock`, (count) => {
        for (let i = 0; i < count; i++) {
          // Words far from each other, so that each copy differs from the one before.
          simulator.write((i * 65_540) % (1 << 21), 4, i, 0);
          simulator.snapshot!();
        }
      });
      const theirs = loop('Uint8Array.slice', (count) => {
        for (let i = 0; i < count; i++) bytes.slice();
      });
      return compare(ours, theirs);
    },
  },
  {
    name: 'rtl: back to a state of 4 MiB',
    targets: [{ time: 1e6 }],
    async run(): Promise<Comparison> {
      const { simulator, state, bytes } = await copies();
      const into = new Uint8Array(bytes.length);
      const ours = loop(`restore of ${bytes.length} bytes`, (count) => {
        for (let i = 0; i < count; i++) simulator.restore!(state);
      });
      const theirs = loop('Uint8Array.set', (count) => {
        for (let i = 0; i < count; i++) into.set(bytes);
      });
      return compare(ours, theirs);
    },
  },
  ...TARGETS.map(
    (target): Row => ({
      name: `rtl: build of edu, ${target}`,
      targets: [],
      async run() {
        const out = join('build', 'rtl', `bench-${target}`);
        const rounds: number[] = [];
        for (let i = 0; i < (QUICK ? 1 : 3); i++) {
          const start = performance.now();
          await buildDesign({ sources: sourcesOf('edu'), top: 'edu', target, out });
          rounds.push((performance.now() - start) * 1e6);
        }
        rmSync(out);
        return { ours: { label: 'buildDesign', rounds } };
      },
    }),
  ),
];

export const rtlRows: readonly Row[] = missing === undefined ? [...everyRow, ...once] : [];
