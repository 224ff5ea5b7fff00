/** Lanes and banks are turned the wrong way. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: 'turn = lane - index[2:0];',
  to: 'turn = BUG ? index[2:0] - lane : lane - index[2:0];',
};
