/** The status is written to the next descriptor. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_channel.v',
  from: "m_axi_sg_awaddr = descriptor + 64'h1c;",
  to: "m_axi_sg_awaddr = (BUG ? next : descriptor) + 64'h1c;",
};
