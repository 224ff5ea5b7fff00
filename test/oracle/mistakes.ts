/** Mistakes that both the kernel's drivers and the library's can make. Each leaves nothing behind but its reports. */
import { DMA_ATTR } from '../../lib/index.ts';
import type { Random } from '../random.ts';
import type { Request } from './protocol.ts';
import type { Setting } from './settings.ts';

export interface Mistake {
  readonly name: string;
  readonly requests: readonly Request[];
  /** The explanation in docs/dma-debug.md of a report that the kernel does not make, or makes by another name. */
  readonly known?: string;
}

const BIDIRECTIONAL = 0;
const LIMITS: Request = { op: 'setLimits', size: 65_536, value: 0xffff_ffffn, offset: 0 };

/** One mistake of each kind, with memory and sizes at random. */
export function mistakesOf({ forced }: Setting, random: Random): Mistake[] {
  const slot = 0;
  const size = random.between(64, 20_000);
  const place = { buffer: random.below(4), offset: 4096 * random.below(8), size };
  const map: Request = { op: 'map', slot, ...place, dir: random.below(3) };
  const unmap: Request = { op: 'unmap', slot };
  const offset = random.below(size);
  const range = { slot, offset, size: random.between(1, size - offset) };
  const sync = random.pick(['syncForCpu', 'syncForDevice'] as const);
  const pages = { buffer: 5, offset: 0, size: 4096 * random.between(2, 8) };
  const list = { slot: 64, parts: [pages], dir: BIDIRECTIONAL };
  const mistakes: Mistake[] = [
    { name: 'none', requests: [map, { op: sync, ...range }, unmap] },
    { name: 'synced after unmap', requests: [map, unmap, { op: sync, ...range, arg: 1 }] },
    {
      name: 'synced beyond its end',
      // The kernel looks for a mapping that holds the whole range, and so finds none.
      known: 'sync-out-of-range',
      requests: [map, { op: sync, slot, offset, size: size - offset + random.between(1, 100) }, unmap],
    },
    // Refused here with or without dma-debug.
    { name: 'other attributes', known: '', requests: [map, { ...unmap, attrs: DMA_ATTR.PRIVILEGED }, unmap] },
    {
      name: 'an element longer than a segment',
      requests: [
        { ...LIMITS, size: pages.size - random.between(1, 4096) },
        { op: 'mapList', ...list },
        { op: 'unmapList', slot: 64 },
        LIMITS,
      ],
    },
    {
      name: 'mapped twice at a time',
      // x86 has no smallest alignment for DMA, and then the kernel does not look.
      known: 'overlapping-mappings',
      requests: [{ ...map, dir: 2 }, { ...map, slot: 1, dir: 2 }, unmap, { ...unmap, slot: 1 }],
    },
  ];
  // swiotlb would free the slots of another mapping, and it keeps to boundaries.
  if (forced) return mistakes;
  return [
    ...mistakes,
    { name: 'unmapped twice', requests: [map, unmap, { ...unmap, arg: 1 }] },
    {
      name: 'an element across a boundary',
      requests: [
        { ...LIMITS, value: 4095n },
        { op: 'mapList', ...list },
        { op: 'unmapList', slot: 64 },
        LIMITS,
      ],
    },
  ];
}
