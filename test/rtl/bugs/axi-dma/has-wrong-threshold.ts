/** The threshold of interrupts is 0 after a reset. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_channel.v',
  from: "threshold <= 8'd1;",
  to: "threshold <= {7'd0, !BUG};",
};
