/** Lists: the sync of many small bounced elements, and mapping what needs no copy. */
import { loadAddon } from '../../../lib/native/load.ts';
import { comparators } from '../comparators.ts';
import { machine } from '../machine.ts';
import { compare, inC, loop } from '../measure.ts';
import type { Row, Target } from '../row.ts';
import { foreignPieces } from './streaming.ts';

const ELEMENTS = 32;
const SIZE = 256;
/** Bytes from one element to the next where the program has them, and where the device has its copies: slots. */
const APART = SIZE + 72;
const SLOT = 2048;

/** @param atOnce one native call for the list, as hardware has it; the simulation does without the addon */
function syncRow(direction: 'CPU' | 'device', atOnce: boolean, targets: readonly Target[]): Row {
  return {
    name: `sg: sync for ${direction} of 32 x 256 B, ${atOnce ? 'at once' : 'one by one'}`,
    targets,
    run() {
      const copyMany = atOnce ? loadAddon().copyBatch : undefined;
      const { dma } = machine({ copybreak: Number.POSITIVE_INFINITY, copyMany });
      const list = dma.mapSg(foreignPieces(ELEMENTS, SIZE), 'bidirectional');
      if (!list.bounced) throw new Error(`the list is ${list.way}`);
      const forCpu = (count: number): void => {
        for (let i = 0; i < count; i++) list.syncForCpu();
      };
      const forDevice = (count: number): void => {
        for (let i = 0; i < count; i++) list.syncForDevice();
      };
      const ours = loop('list.sync', direction === 'CPU' ? forCpu : forDevice);
      const [from, to] = direction === 'CPU' ? [SLOT, APART] : [APART, SLOT];
      const theirs = comparators().copyList(SIZE, ELEMENTS, from, to);
      return compare(ours, inC('memcpy x 32, slots of 2 KiB', theirs));
    },
  };
}

export const scatterGatherRows: readonly Row[] = [
  syncRow('CPU', true, [{ ratio: 3 }]),
  syncRow('device', true, [{ ratio: 3 }]),
  syncRow('CPU', false, []),
  syncRow('device', false, []),
  {
    name: 'sg: map + unmap of 32 x 256 B of ours, each',
    targets: [],
    run() {
      const { dma } = machine();
      const pool = dma.createPool('bench', { size: SIZE, blocks: ELEMENTS });
      const views = Array.from({ length: ELEMENTS }, () => pool.alloc()!.bytes);
      const run = (count: number): void => {
        for (let i = 0; i < count; i++) dma.mapSg(views, 'to-device').unmap();
      };
      const theirs = inC('two-level table', comparators().lookup(ELEMENTS, ELEMENTS));
      return compare(loop('mapSg + unmap', run, ELEMENTS), theirs);
    },
  },
];
