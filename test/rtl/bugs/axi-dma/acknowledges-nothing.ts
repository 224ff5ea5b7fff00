/** A written status bit clears nothing. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma_channel.v',
  from: 'pending <= pending & ~write_data[14:12];',
  to: "pending <= pending & ~(BUG ? 3'd0 : write_data[14:12]);",
};
