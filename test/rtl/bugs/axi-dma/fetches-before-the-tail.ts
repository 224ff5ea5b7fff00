/** A descriptor is read before the tail was written. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_channel.v',
  from: 'RESTING: if (abort) state <= STOPPING;',
  to: 'RESTING: if (abort) state <= STOPPING; else if (BUG && scatter_gather) state <= FETCH;',
};
