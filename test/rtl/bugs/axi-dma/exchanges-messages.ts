/** Each channel has the message of the other. */
import type { Bug } from '../planted.ts';

export const bug: Bug = {
  file: 'axi_dma.v',
  from: "msi <= rst_n ? {interrupt_s2mm, interrupt_mm2s} & ~interrupts_before : 2'd0;",
  to: "msi <= !rst_n ? 2'd0 : (BUG ? {interrupt_mm2s, interrupt_s2mm} & ~{interrupts_before[0], interrupts_before[1]} : {interrupt_s2mm, interrupt_mm2s} & ~interrupts_before);",
};
