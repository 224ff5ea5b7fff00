/**
 * What dma-debug costs: the same loop on two devices, with it and without. Both kinds live in one process here, so that
 * calls between parts of the library are not inlined as they are where only one lives: the side without is dearer than
 * in its own rows by that, and the side with it pays too.
 */

import { hardwareObservers } from '../../../lib/debug/create.ts';
import type { Observe } from '../../../lib/debug/device.ts';
import type { DebugOptions } from '../../../lib/debug/options.ts';
import { type DmaDevice, type DmaDirection, openPci } from '../../../lib/index.ts';
import { type DeviceBus, simulate } from '../../../lib/sim/index.ts';
import { Master } from '../../master.ts';
import { debugMachine } from '../debug-machine.ts';
import { settle } from '../heap.ts';
import { type Machine, type MachineOptions, machine } from '../machine.ts';
import { compare, type Loop, loop, QUICK } from '../measure.ts';
import { mixedUse } from '../mixed-use.ts';
import type { Row, Target } from '../row.ts';
import { foreignPieces } from './streaming.ts';

const BOUNCING: MachineOptions = { copybreak: Number.POSITIVE_INFINITY };
const PIECES = 16;
const ELEMENTS = 32;
const BURST = 4096;
const LIVE = QUICK ? 1e5 : 1e6;

/** @param make the loop, on the machine it is given */
function costRow(
  what: string,
  targets: readonly Target[],
  make: (bench: Machine) => Loop,
  options: MachineOptions = {},
  operations = 1,
  debug: DebugOptions = {},
  observe?: Observe,
): Row {
  return {
    name: `debug: ${what}`,
    targets,
    run() {
      mixedUse(debugMachine());
      const on = loop('with dma-debug', make(debugMachine(options, debug, observe)), operations);
      return compare(on, loop('without', make(machine(options)), operations));
    },
  };
}

function mapRow(
  what: string,
  direction: DmaDirection,
  views: (bench: Machine) => Uint8Array[],
  options?: MachineOptions,
) {
  const make = (bench: Machine): Loop => {
    const { dma } = bench;
    const pieces = views(bench);
    const mask = pieces.length - 1;
    return (count) => {
      for (let i = 0; i < count; i++) dma.mapSingle(pieces[i & mask]!, direction).unmap();
    };
  };
  return costRow(`map + unmap, ${what}`, [{ ratio: 3 }], make, options);
}

function bouncedRow(size: number): Row {
  return mapRow(`bounced, ${size} B`, 'bidirectional', () => foreignPieces(PIECES, size), BOUNCING);
}

/** A device with the observers of real hardware, as `debug: true` makes it there. */
function hardwareRow(size: number, direction: DmaDirection): Row {
  const make = (bench: Machine): Loop => {
    const views = foreignPieces(PIECES, size);
    return (count) => {
      for (let i = 0; i < count; i++) bench.dma.mapSingle(views[i & (PIECES - 1)]!, direction).unmap();
    };
  };
  const observe = hardwareObservers(() => ({ faults: () => [], close() {} }));
  const name = `hardware, bounced, ${size} B, ${direction}`;
  return costRow(name, [{ ratio: 3 }], make, BOUNCING, 1, {}, observe);
}

/** A simulated function as `openPci` opens it, with dma-debug and without. */
function simulationRow(
  what: string,
  make: (dma: DmaDevice, bus: DeviceBus) => Loop,
  debug: DebugOptions = {},
): Row {
  const open = async (options: DebugOptions | false): Promise<Loop> => {
    const model = new Master();
    const fn = await openPci(simulate(model), { debug: options, streaming: BOUNCING });
    fn.setMaster();
    return make(fn.dma, model.bus);
  };
  return {
    name: `debug: simulation, ${what}`,
    targets: [],
    async run() {
      mixedUse(debugMachine());
      const on = loop('with dma-debug', await open({ print: false, ...debug }));
      return compare(on, loop('without', await open(false)));
    },
  };
}

function simulatedMapRow(what: string, views: (dma: DmaDevice) => Uint8Array[], debug?: DebugOptions): Row {
  const make = (dma: DmaDevice): Loop => {
    const pieces = views(dma);
    const mask = pieces.length - 1;
    return (count) => {
      for (let i = 0; i < count; i++) dma.mapSingle(pieces[i & mask]!, 'bidirectional').unmap();
    };
  };
  return simulationRow(`map + unmap, ${what}`, make, debug);
}

/** Lent to the device, moved burst by burst, taken back. Nothing here takes the time that a model of a device takes. */
function packetRow(size: number): Row {
  const what = `packet of ${size} B out and in, by bursts of ${BURST}`;
  return simulationRow(what, (dma, bus) => {
    const out = dma.allocNoncoherent(size, 'to-device').bytes;
    const into = dma.allocNoncoherent(size, 'from-device').bytes;
    const burst = new Uint8Array(Math.min(BURST, size));
    return (count) => {
      for (let i = 0; i < count; i++) {
        using read = dma.mapSingle(out, 'to-device');
        using written = dma.mapSingle(into, 'from-device');
        const from = Number(read.dmaAddress);
        const to = Number(written.dmaAddress);
        for (let at = 0; at < size; at += burst.length) {
          bus.dmaRead(from + at, burst);
          bus.dmaWrite(to + at, burst);
        }
      }
    };
  });
}

/** Blocks of a pool, neighbours or not. */
function ownListRow(what: string, pick: (views: Uint8Array[]) => Uint8Array[]): Row {
  const direction = what === 'to-device' ? 'to-device' : 'bidirectional';
  const make = ({ dma }: Machine): Loop => {
    const pool = dma.createPool('bench', { size: 256, blocks: 2 * ELEMENTS });
    const all = Array.from({ length: 2 * ELEMENTS }, () => pool.alloc()!.bytes);
    const views = pick(all).slice(0, ELEMENTS);
    return (count) => {
      for (let i = 0; i < count; i++) dma.mapSg(views, direction).unmap();
    };
  };
  return costRow(`sg, 32 x 256 B of ours, ${what}, each`, [{ ratio: 3 }], make, {}, ELEMENTS);
}

function ownPieces(dma: DmaDevice): Uint8Array[] {
  return Array.from({ length: PIECES }, () => dma.allocCoherent(4096).bytes);
}

/** What a million live mappings take in all, each of a block of its own. */
function memoryRow(direction: DmaDirection): Row {
  return {
    name: `debug: memory of ${LIVE.toLocaleString('en')} live mappings, ${direction}`,
    targets: [{ count: 'bytes each', most: 400 }],
    async run() {
      const { dma } = debugMachine();
      const pool = dma.createPool('bench', { size: 64 });
      const views = Array.from({ length: LIVE }, () => pool.alloc()!.bytes);
      const live: unknown[] = new Array(LIVE).fill(undefined);
      await settle();
      const before = used();
      for (let i = 0; i < LIVE; i++) live[i] = dma.mapSingle(views[i]!, direction);
      await settle();
      return { counts: { 'bytes each': (used() - before) / live.length } };
    },
  };
}

function used(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

export const debugRows: readonly Row[] = [
  mapRow('own memory, to-device', 'to-device', ({ dma }) => ownPieces(dma)),
  mapRow('own memory, bidirectional', 'bidirectional', ({ dma }) => ownPieces(dma)),
  ...[64, 1500, 4096].map(bouncedRow),
  ...(['to-device', 'from-device', 'bidirectional'] as const).flatMap((direction) =>
    [64, 1500, 4096].map((size) => hardwareRow(size, direction)),
  ),
  simulatedMapRow('coherent', ownPieces),
  simulatedMapRow('noncoherent, 64 B', (dma) => [dma.allocNoncoherent(64, 'bidirectional').bytes]),
  ...[64, 1500, 4096].flatMap((size) => [
    simulatedMapRow(`bounced, ${size} B`, () => foreignPieces(PIECES, size)),
    simulatedMapRow(`bounced, ${size} B, no contents`, () => foreignPieces(PIECES, size), {
      contents: false,
    }),
  ]),
  ...[64, 4096, 262_144].map(packetRow),
  costRow(
    'sync for CPU, bounced, 64 B',
    [{ ratio: 3 }],
    ({ dma }) => {
      const mapping = dma.mapSingle(foreignPieces(1, 64)[0]!, 'bidirectional');
      return (count) => {
        for (let i = 0; i < count; i++) mapping.syncForCpu();
      };
    },
    BOUNCING,
  ),
  ownListRow('to-device', (views) => views),
  ownListRow('bidirectional', (views) => views),
  ownListRow('bidirectional, apart', (views) => views.filter((_, i) => i % 2 === 0)),
  costRow(
    'sg, 32 x 256 B bounced, each',
    [{ ratio: 3 }],
    ({ dma }) => {
      const views = foreignPieces(ELEMENTS, 256);
      return (count) => {
        for (let i = 0; i < count; i++) dma.mapSg(views, 'bidirectional').unmap();
      };
    },
    BOUNCING,
    ELEMENTS,
  ),
  costRow('pool, alloc + free, 64 B', [{ ratio: 3 }], ({ dma }) => {
    const pool = dma.createPool('bench', { size: 64, align: 64, blocks: 2048 });
    return (count) => {
      for (let i = 0; i < count; i++) pool.free(pool.alloc()!);
    };
  }),
  costRow('allocCoherent(4096) + free', [{ ratio: 3 }], ({ dma }) => (count) => {
    for (let i = 0; i < count; i++) dma.allocCoherent(4096).free();
  }),
  memoryRow('to-device'),
  memoryRow('bidirectional'),
];
