/**
 * What one more opened function costs while many are open, and one more armed interrupt while many are armed. As in
 * live.ts, the other side is the same loop with none.
 */
import { openPci, type PciFunction } from '../../../lib/index.ts';
import { type DeviceModel, type FunctionDescription, simulate } from '../../../lib/sim/index.ts';
import { compare, loop, QUICK, type Sample, type Side } from '../measure.ts';
import type { Row, Target } from '../row.ts';

const VECTORS = 2048;
const ROUNDS = QUICK ? 3 : 31;
/** Functions that are opened and closed in a round. */
const OPENED = 20;

/** A function with as many interrupts as there can be. */
class ManyInterrupts implements DeviceModel {
  readonly config: FunctionDescription = {
    vendorId: 0x1234,
    deviceId: 0x5678,
    msix: { vectors: VECTORS, bar: 0, table: 0, pending: 0x9000 },
  };
  readonly bars = [{ index: 0, size: 65_536 }];

  attach(): void {}

  reset(): void {}

  read(): number {
    return 0;
  }

  write(): void {}
}

function open(): Promise<PciFunction> {
  return openPci(simulate(new ManyInterrupts()), { debug: false });
}

/** Arms `live` interrupts, function by function, then arms and closes one more of the last function again and again. */
async function armedAmong(live: number, functions: PciFunction[]): Promise<Side> {
  let fn = await open();
  functions.push(fn);
  for (let armed = 0; armed < live; armed++) {
    const vector = armed % (VECTORS - 1);
    if (vector === 0 && armed > 0) {
      fn = await open();
      functions.push(fn);
    }
    fn.interrupts.msix(vector).listen(() => {});
  }
  return loop(`${live.toLocaleString('en')} armed`, (count) => {
    for (let i = 0; i < count; i++) fn.interrupts.msix(VECTORS - 1).close();
  });
}

function armedRow(live: number, ratio: number): Row {
  return {
    name: `live: interrupt armed and closed, ${live.toLocaleString('en')} live`,
    targets: [{ ratio }],
    async run() {
      // Armed interrupts would keep this process alive.
      const functions: PciFunction[] = [];
      try {
        return compare(await armedAmong(live, functions), await armedAmong(0, functions));
      } finally {
        for (const fn of functions) fn.close();
      }
    },
  };
}

/** Nanoseconds that opening and closing one function takes. */
async function opened(): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < OPENED; i++) (await open()).close();
  return ((performance.now() - start) * 1e6) / OPENED;
}

/** The two sides cannot alternate, because a live function is live for both. So the rounds with none come first. */
function openedRow(live: number, targets: readonly Target[]): Row {
  return {
    name: `live: function opened and closed, ${live.toLocaleString('en')} live`,
    targets,
    async run() {
      const rounds = async (label: string): Promise<Sample> => {
        const took: number[] = [];
        for (let round = -5; round < ROUNDS; round++) {
          const time = await opened();
          if (round >= 0) took.push(time);
        }
        return { label, rounds: took };
      };
      const theirs = await rounds('none live');
      const held: PciFunction[] = [];
      for (let i = 0; i < live; i++) {
        held.push(await open());
        held[i]!.dma.allocCoherent(4096);
      }
      const ours = await rounds(`${live.toLocaleString('en')} live`);
      for (const fn of held) fn.close();
      return { ours, theirs };
    },
  };
}

export const liveFunctionRows: readonly Row[] = [
  armedRow(1e2, 2),
  armedRow(1e4, 2),
  armedRow(1e5, 3),
  openedRow(1e2, [{ ratio: 2 }]),
  openedRow(1e3, [{ ratio: 2 }]),
  openedRow(1e4, [{ ratio: 2 }]),
];
