/** The liveness register is not inverted. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: 'liveness <= ~data;',
  to: 'liveness <= BUG ? data : ~data;',
};
