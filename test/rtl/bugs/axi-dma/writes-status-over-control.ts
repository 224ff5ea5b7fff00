/** The status of a descriptor is written with the strobes of two words. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_channel.v',
  from: "m_axi_sg_wstrb = 8'hf0;",
  to: "m_axi_sg_wstrb = BUG ? 8'hff : 8'hf0;",
};
