/** The high word of the address in a descriptor is lost. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_channel.v',
  from: '{m_axi_sg_rdata[63:32] & high_mask, m_axi_sg_rdata[31:0]}',
  to: '{m_axi_sg_rdata[63:32] & high_mask & {32{!BUG}}, m_axi_sg_rdata[31:0]}',
};
