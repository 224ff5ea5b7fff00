/** A read burst is one beat too long. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: "m_axi_arlen = beats[7:0] - 8'd1;",
  to: "m_axi_arlen = beats[7:0] - (BUG ? 8'd0 : 8'd1);",
};
