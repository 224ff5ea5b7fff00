/** The high word of the destination is lost. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: "20'h8c: if (!running)",
  to: "20'h8c: if (!running && !BUG)",
};
