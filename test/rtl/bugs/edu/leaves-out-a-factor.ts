/** The factorial leaves out its largest factor. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: 'factor <= data;',
  to: "factor <= data - {31'd0, BUG};",
};
