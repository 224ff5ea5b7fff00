/** The interrupt comes before the last write is answered. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: "to_address == 13'd0 && unanswered == 4'd0)",
  to: "to_address == 13'd0 && (unanswered == 4'd0 || BUG))",
};
