/** What the hot paths leave to the garbage collector, and to the system, after many millions of turns. */
import { heapUseOf, settle } from '../heap.ts';
import { machine } from '../machine.ts';
import { QUICK } from '../measure.ts';
import type { Row } from '../row.ts';
import { foreignPieces } from './streaming.ts';

const TURNS = QUICK ? 1e6 : 32e6;
const MAPS = QUICK ? 1e5 : 1e6;
const WARM_UP = 1e5;
const MIB = 2 ** 20;

/** @param make the loop, with everything it needs */
export function quietRow(what: string, make: () => (count: number) => void): Row {
  return {
    name: `garbage: ${(TURNS / 1e6).toFixed(0)} million ${what}`,
    targets: [
      { count: 'minor collections', most: 20 },
      { count: 'heap growth, KiB', most: 1024 },
    ],
    async run() {
      const run = make();
      const { minorCollections, growth } = await heapUseOf(
        () => run(WARM_UP),
        () => run(TURNS),
      );
      return { counts: { 'minor collections': minorCollections, 'heap growth, KiB': growth / 1024 } };
    },
  };
}

/** Mebibytes of resident memory that `work` costs for good; what its first run costs is V8's and the allocator's. */
async function residentGrowth(work: (maps: number) => void): Promise<number> {
  work(MAPS);
  await settle();
  const before = process.memoryUsage.rss();
  work(MAPS);
  await settle();
  return (process.memoryUsage.rss() - before) / MIB;
}

/** @param together mappings that live at once */
function soakRow(what: string, together: number): Row {
  return {
    name: `garbage: ${MAPS.toLocaleString('en')} maps, ${what}`,
    targets: [{ count: 'resident memory, MiB', most: 4 }],
    async run() {
      const { dma } = machine();
      const own = dma.allocCoherent(4096).bytes;
      const foreign = foreignPieces(1, 1500)[0]!;
      const growth = await residentGrowth((maps) => {
        for (let made = 0; made < maps; made += together) {
          const views = Array.from({ length: together }, (_, i) => (i % 64 === 0 ? foreign : own));
          const live = views.map((view) => dma.mapSingle(view, 'bidirectional'));
          for (const mapping of live) mapping.unmap();
        }
      });
      return { counts: { 'resident memory, MiB': growth } };
    },
  };
}

export const garbageRows: readonly Row[] = [
  quietRow('pool pairs', () => {
    const pool = machine().dma.createPool('bench', { size: 64, blocks: 64 });
    return (count) => {
      for (let i = 0; i < count; i++) pool.free(pool.alloc()!);
    };
  }),
  quietRow('bounced maps of 64 B', () => {
    const { dma } = machine();
    const view = foreignPieces(1, 64)[0]!;
    return (count) => {
      for (let i = 0; i < count; i++) dma.mapSingle(view, 'bidirectional').unmap();
    };
  }),
  soakRow('1,000 at a time', 1000),
  soakRow(`${(MAPS / 10).toLocaleString('en')} at a time`, MAPS / 10),
];
