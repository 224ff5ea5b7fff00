/** Pools against the allocator of C. */
import type { DmaPool, DmaPoolBlock } from '../../../lib/index.ts';
import { comparators } from '../comparators.ts';
import { machine } from '../machine.ts';
import { compare, inC, loop } from '../measure.ts';
import type { Row } from '../row.ts';

const SIZE = 64;
const BURST = 1024;
const BATCH = 32;

function newPool(): DmaPool {
  return machine().dma.createPool('bench', { size: SIZE, align: SIZE, blocks: 2 * BURST });
}

export const poolRows: readonly Row[] = [
  {
    name: 'pool: alloc + free, 64 B',
    targets: [{ ratio: 0.6 }, { time: 8 }],
    run() {
      const pool = newPool();
      const ours = loop('DmaPool', (count) => {
        for (let i = 0; i < count; i++) pool.free(pool.alloc()!);
      });
      return compare(ours, inC('malloc + free', comparators().mallocPair(SIZE)));
    },
  },
  {
    name: 'pool: 1,024 out, 1,024 back',
    targets: [{ time: 10 }],
    run() {
      const pool = newPool();
      const out: DmaPoolBlock[] = new Array(BURST).fill(pool.alloc());
      const ours = (count: number): void => {
        for (let round = 0; round < count; round++) {
          for (let i = 0; i < BURST; i++) out[i] = pool.alloc()!;
          for (let i = 0; i < BURST; i++) pool.free(out[i]!);
        }
      };
      const theirs = comparators().mallocBurst(SIZE, BURST);
      return compare(loop('DmaPool', ours, BURST), inC('malloc, free', theirs, BURST));
    },
  },
  {
    name: 'pool: zalloc + free, 64 B',
    targets: [{ ratio: 1 }],
    run() {
      const pool = newPool();
      const ours = loop('DmaPool', (count) => {
        for (let i = 0; i < count; i++) pool.free(pool.zalloc()!);
      });
      return compare(ours, inC('malloc + memset + free', comparators().zeroedPair(SIZE)));
    },
  },
  {
    name: 'pool: 32 out and back in a batch, each',
    targets: [{ time: 3 }],
    run() {
      const pool = newPool();
      const batch = new Array<DmaPoolBlock>(BATCH).fill(pool.alloc()!);
      const ours = loop(
        'DmaPool',
        (count) => {
          for (let i = 0; i < count; i++) {
            pool.allocMany(batch);
            pool.freeMany(batch);
          }
        },
        BATCH,
      );
      return compare(ours, inC('malloc, free', comparators().mallocBurst(SIZE, BATCH), BATCH));
    },
  },
  {
    name: 'pool: 32 out and back in a batch by index, each',
    targets: [{ time: 3 }],
    run() {
      const pool = newPool();
      const batch = new Array<number>(BATCH).fill(0);
      const ours = loop(
        'DmaPool',
        (count) => {
          for (let i = 0; i < count; i++) {
            pool.allocIndices(batch);
            pool.freeIndices(batch);
          }
        },
        BATCH,
      );
      return compare(ours, inC('malloc, free', comparators().mallocBurst(SIZE, BATCH), BATCH));
    },
  },
];
