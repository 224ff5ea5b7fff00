/** An error response to a read is ignored. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_mm2s.v',
  from: "if (m_axi_rresp != 2'd0 && error == 2'd0)",
  to: "if (m_axi_rresp != 2'd0 && error == 2'd0 && !BUG)",
};
