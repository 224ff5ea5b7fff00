/** Against the IOMMU itself: in the virtual machine, on the function that USERDMA_TEST_EDU names. */
import { readdirSync, readlinkSync } from 'node:fs';
import { dmaBitMask, openPci, type PciFunction } from '../../../lib/index.ts';
import { loadAddon } from '../../../lib/native/load.ts';
import { comparators } from '../comparators.ts';
import { compare, inC, loop, type Side } from '../measure.ts';
import type { Outcome, Row } from '../row.ts';
import { foreignPieces } from './streaming.ts';

const SIZE = 4096;
const PIECES = 16;
/** The allocator starts at the other end. */
const FREE_IOVA = 0x10_0000;

async function withFunction(measure: (fn: PciFunction) => Outcome): Promise<Outcome> {
  const address = process.env.USERDMA_TEST_EDU;
  if (address === undefined) throw new Error('no function: run it with `npm run vm`');
  const fn = await openPci(address);
  try {
    fn.dma.setMaskAndCoherent(dmaBitMask(28));
    return measure(fn);
  } finally {
    fn.close();
  }
}

/** Descriptor of the container that the function is in. */
function containerFd(): number {
  const fd = readdirSync('/proc/self/fd').find((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`) === '/dev/vfio/vfio';
    } catch {
      return false; // the descriptor of the listing itself
    }
  });
  if (fd === undefined) throw new Error('no VFIO container is open');
  return Number(fd);
}

function rawPair(): Side {
  return inC('VFIO map + unmap, 4 KiB', comparators().vfioPair(containerFd(), FREE_IOVA, SIZE));
}

export const vfioRows: readonly Row[] = [
  {
    name: 'vfio: allocCoherent(4096) + free, zeroed',
    world: 'vm',
    targets: [{ added: 5000 }, { count: 'regions mmapped', most: 0 }],
    run: () =>
      withFunction(({ dma }) => {
        const addon = loadAddon();
        const { regionCreate } = addon;
        const ours = loop('allocCoherent + free', (count) => {
          for (let i = 0; i < count; i++) dma.allocCoherent(SIZE).free();
        });
        ours.timed(1); // the first one makes the region
        let regions = 0;
        addon.regionCreate = (bytes, hugetlb) => {
          regions++;
          return regionCreate(bytes, hugetlb);
        };
        return { ...compare(ours, rawPair()), counts: { 'regions mmapped': regions } };
      }),
  },
  {
    name: 'vfio: 4 KiB bounced, map + unmap',
    world: 'vm',
    targets: [{ ratio: 0.1 }],
    run: () =>
      withFunction(({ dma }) => {
        const views = foreignPieces(PIECES, SIZE);
        const ours = loop('mapSingle + unmap', (count) => {
          for (let i = 0; i < count; i++) dma.mapSingle(views[i & (PIECES - 1)]!, 'to-device').unmap();
        });
        return compare(ours, rawPair());
      }),
  },
  {
    name: 'vfio: 4 KiB memcpy in C alone',
    world: 'vm',
    targets: [],
    run: () => withFunction(() => compare(inC('memcpy', comparators().copy(SIZE, PIECES, 1)), rawPair())),
  },
  {
    name: 'vfio: 64 KiB in place, map + unmap',
    world: 'vm',
    targets: [],
    run: () =>
      withFunction(({ dma }) => {
        const view = foreignPieces(1, 65536)[0]!;
        const ours = loop('mapSingle + unmap', (count) => {
          for (let i = 0; i < count; i++) dma.mapSingle(view, 'to-device').unmap();
        });
        return compare(ours, rawPair());
      }),
  },
];
