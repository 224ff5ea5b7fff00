/** A read is over when it is addressed, before its data is there. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: "if (reading && to_move == 13'd0) begin",
  to: "if (reading && (to_move == 13'd0 || (BUG && to_address == 13'd0))) begin",
};
