/** Coherent memory behind a simulated IOMMU: of the JavaScript heap, and of the source that real devices have. */
import { MemfdMemory } from '../../../lib/index.ts';
import type { MemorySource } from '../../../lib/memory/source.ts';
import { comparators } from '../comparators.ts';
import { machine } from '../machine.ts';
import { compare, inC, loop, type Side } from '../measure.ts';
import type { Row } from '../row.ts';

function pair(label: string, memory?: MemorySource): Side {
  const { dma } = machine({}, memory);
  return loop(label, (count) => {
    for (let i = 0; i < count; i++) dma.allocCoherent(4096).free();
  });
}

export const coherentRows: readonly Row[] = [
  {
    name: 'coherent: allocCoherent(4096) + free, zeroed',
    targets: [{ time: 4000 }],
    run: () => compare(pair('simulation'), inC('mmap, populated, + munmap', comparators().mmapPair(4096))),
  },
  {
    name: 'coherent: allocCoherent(4096) + free, zeroed, memfd',
    targets: [{ time: 1800 }],
    run: () => compare(pair('memfd', new MemfdMemory()), pair('heap')),
  },
];
