/** TKEEP of the last beat of a packet has a byte too few. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_mm2s.v',
  from: "m_axis_tkeep <= number[3] ? 8'hff : (8'd1 << number[2:0]) - 8'd1;",
  to: "m_axis_tkeep <= number[3] ? 8'hff : (8'd1 << (number[2:0] - {2'd0, BUG && number != 4'd1})) - 8'd1;",
};
