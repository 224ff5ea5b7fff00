/** AWADDR changes before AWREADY. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: 'm_axi_awaddr = next_address;',
  to: "m_axi_awaddr = next_address + {60'd0, BUG && changed, 3'd0};",
  adds: `reg changed;
always @(posedge clk) changed <= BUG && !changed;`,
};
