/** The high word of the source is lost. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: "20'h84: if (!running)",
  to: "20'h84: if (!running && !BUG)",
};
