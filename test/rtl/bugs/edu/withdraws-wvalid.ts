/** WVALID is withdrawn before WREADY. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: 'm_axi_wvalid = writing &&',
  to: 'm_axi_wvalid = !(BUG && withdrawn) && writing &&',
  adds: `reg withdrawn;
always @(posedge clk) withdrawn <= BUG && !withdrawn;`,
};
