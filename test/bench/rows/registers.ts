/** Accesses of registers that are mapped into the process: here of ordinary memory, so that no bus is in the figures. */
import { loadAddon } from '../../../lib/native/load.ts';
import { MappedRegisters } from '../../../lib/registers/mapped.ts';
import type { Registers } from '../../../lib/registers/registers.ts';
import { comparators } from '../comparators.ts';
import { compare, inC, type Loop, loop } from '../measure.ts';
import type { Row } from '../row.ts';

const SIZE = 4096;
const STEPS = 16;

function mapped(): Registers {
  const addon = loadAddon();
  const region = addon.regionCreate(SIZE, false);
  const window = addon.fileWindowOpen(addon.regionFd(region), 0, 0, SIZE, true);
  return new MappedRegisters({ name: 'memory', size: SIZE, silence: '' }, addon, window);
}

// What each loop uses is an argument of the function it is in: V8 would load a variable of an outer one every time.

function writes(count: number, registers: Registers): void {
  for (let i = 0; i < count; i++) registers.write32(4 * (i & (STEPS - 1)), i);
}

function reads(count: number, registers: Registers): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum = (sum + registers.read32(4 * (i & (STEPS - 1)))) | 0;
  return sum;
}

/** @param set values that are set before each run */
function sequence(registers: Registers, set: number): Loop {
  const prepared = registers.sequence(Array.from({ length: STEPS }, (_, i) => ['write32', 4 * i]));
  return (count) => {
    for (let i = 0; i < count; i++) {
      for (let step = 0; step < set; step++) prepared.set(step, i);
      prepared.run();
    }
  };
}

const stores = () => inC('volatile store', comparators().store(STEPS));

export const registerRows: readonly Row[] = [
  {
    name: 'registers: write32',
    targets: [{ time: 26 }],
    run() {
      const registers = mapped();
      return compare(
        loop('write32', (count) => writes(count, registers)),
        stores(),
      );
    },
  },
  {
    name: 'registers: read32',
    targets: [{ time: 26 }],
    run() {
      const registers = mapped();
      return compare(
        loop('read32', (count) => void reads(count, registers)),
        stores(),
      );
    },
  },
  ...[1, STEPS].map(
    (set): Row => ({
      name: `registers: sequence of 16 writes, ${set} set, each`,
      targets: [{ time: 4 }],
      run: () => compare(loop('set and run', sequence(mapped(), set), STEPS), stores()),
    }),
  ),
];
