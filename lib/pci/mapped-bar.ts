/** A BAR of real hardware, however it was mapped. */
import type { DmaError } from '../errors.ts';
import type { MmioWindow } from '../iommu/address-space.ts';
import type { Handle, MmioFunctions } from '../native/addon.ts';
import { MappedRegisters } from '../registers/mapped.ts';
import { type Bar, type BarInfo, barNames, barWriteError } from './bar.ts';

/** A BAR that is mapped into the process. */
export class MappedBar extends MappedRegisters implements Bar {
  readonly info: BarInfo;
  readonly window: MmioWindow | undefined;

  /**
   * @param registers over all of the BAR; they stay their owner's
   * @param window the same, where the DMA of functions can be led to them
   */
  constructor(info: BarInfo, native: MmioFunctions, registers: Handle, window?: MmioWindow) {
    super(barNames(info), native, registers);
    this.info = info;
    this.window = window;
  }

  protected override writeError(offset: number, width: number): DmaError | undefined {
    return barWriteError(this.info, offset, width);
  }
}
