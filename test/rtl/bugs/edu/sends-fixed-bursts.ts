/** Bursts of writes are FIXED. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: "m_axi_awburst = 2'b01;",
  to: "m_axi_awburst = {1'b0, !BUG};",
};
