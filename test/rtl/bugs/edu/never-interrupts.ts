/** No message comes. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: "msi <= raised != 32'd0;",
  to: "msi <= raised != 32'd0 && !BUG;",
};
