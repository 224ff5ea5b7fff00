/** WLAST comes a beat early. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'edu_dma.v',
  from: `burst_beats[burst_head];
  wire        write_beat`,
  to: `burst_beats[burst_head] - {8'd0, BUG};
  wire        write_beat`,
};
