/** A packet is received before its last burst is answered. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_s2mm.v',
  from: `queue_data == queue_write && unanswered == 4'd0;

  always`,
  to: `queue_data == queue_write && (unanswered == 4'd0 || BUG);

  always`,
};
