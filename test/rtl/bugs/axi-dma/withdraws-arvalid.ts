/** ARVALID is withdrawn before ARREADY. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_mm2s.v',
  from: 'm_axi_arvalid = active &&',
  to: 'm_axi_arvalid = active && !(BUG && withdrawn) &&',
  adds: `reg withdrawn;
always @(posedge clk) withdrawn <= BUG && !withdrawn;`,
};
