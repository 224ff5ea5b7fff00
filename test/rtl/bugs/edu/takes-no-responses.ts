/** Responses of writes are not taken. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: "m_axi_bready = 1'b1;",
  to: 'm_axi_bready = !BUG;',
};
