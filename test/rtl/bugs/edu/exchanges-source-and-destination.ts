/** Source and destination are exchanged. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: '(command[1] ? destination : source) & dma_mask',
  to: '(command[1] ^ BUG ? destination : source) & dma_mask',
};
