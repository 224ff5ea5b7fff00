/** The last beat has a strobe too many. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: "(8'd1 << beyond[2:0]) - 8'd1;",
  to: "(8'd1 << (BUG ? beyond[2:0] + 3'd1 : beyond[2:0])) - 8'd1;",
};
