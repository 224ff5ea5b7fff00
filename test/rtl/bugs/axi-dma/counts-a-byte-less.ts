/** The status says a byte fewer than was received. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_s2mm.v',
  from: 'assign job_moved = moved;',
  to: "assign job_moved = moved - {25'd0, BUG};",
};
