/** A response comes to no access. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: "if (write) s_axil_bvalid <= 1'b1;",
  to: "if (write || (BUG && msi)) s_axil_bvalid <= 1'b1;",
};
