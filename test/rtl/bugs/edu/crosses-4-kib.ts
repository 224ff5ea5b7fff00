/** A burst crosses a multiple of 4,096. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: 'limit = to_boundary < in_burst ?',
  to: 'limit = to_boundary < in_burst && !BUG ?',
};
