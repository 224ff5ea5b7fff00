/** WLAST is missing. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: 'm_axi_wlast =',
  to: 'm_axi_wlast = !BUG &&',
};
