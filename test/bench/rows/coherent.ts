/** Coherent memory on the simulation. */
import { comparators } from '../comparators.ts';
import { machine } from '../machine.ts';
import { compare, inC, loop } from '../measure.ts';
import type { Row } from '../row.ts';

export const coherentRows: readonly Row[] = [
  {
    name: 'coherent: allocCoherent(4096) + free, zeroed',
    targets: [{ time: 4000 }],
    run() {
      const { dma } = machine();
      const ours = loop('simulation', (count) => {
        for (let i = 0; i < count; i++) dma.allocCoherent(4096).free();
      });
      return compare(ours, inC('mmap, populated, + munmap', comparators().mmapPair(4096)));
    },
  },
];
