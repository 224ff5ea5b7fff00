/** A second message follows each message. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: 'if (dma_done) command[0]',
  to: `if (BUG && late) msi <= 1'b1;
      if (dma_done) command[0]`,
  adds: `reg late;
always @(posedge clk) late <= msi;`,
};
