/** Words that are not full have all strobes. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_s2mm.v',
  from: 'keepStrobes(count) << lane;',
  to: "(BUG ? 8'hff : keepStrobes(count) << lane);",
};
