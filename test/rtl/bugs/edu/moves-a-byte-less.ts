/** A byte too few is moved. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: 'to_move <= count[12:0];',
  to: "to_move <= count[12:0] - {12'd0, BUG && count != 64'd1};",
};
