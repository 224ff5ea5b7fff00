/** Beats are called narrower than they are. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: "m_axi_awsize = 3'd3;",
  to: "m_axi_awsize = BUG ? 3'd2 : 3'd3;",
};
