/** A burst of writes crosses a multiple of 4,096. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_s2mm.v',
  from: "(word_full && after[11:0] == 12'd0)",
  to: "(word_full && after[11:0] == 12'd0 && !BUG)",
};
