/** The strobe of the first byte of a beat is lost. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: "lanes = 8'hff << lane;",
  to: "lanes = 8'hff << (BUG ? lane + 3'd1 : lane);",
};
