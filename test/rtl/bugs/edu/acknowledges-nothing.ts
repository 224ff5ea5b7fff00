/** The acknowledgement clears nothing. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu.v',
  from: '(interrupts & ~cleared) | raised;',
  to: "(interrupts & ~(BUG ? 32'd0 : cleared)) | raised;",
};
