/** The identification has a wrong bit. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: 's_axil_rdata <= IDENTIFICATION;',
  to: "s_axil_rdata <= IDENTIFICATION ^ {31'd0, BUG};",
};
