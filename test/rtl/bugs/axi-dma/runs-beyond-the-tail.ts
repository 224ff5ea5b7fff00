/** The channel does not stop at the tail. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_channel.v',
  from: 'descriptor == tail ? RESTING : FETCH',
  to: 'descriptor == tail && !BUG ? RESTING : FETCH',
};
