/** A BAR of real hardware, independent of the way in which it was mapped. */
import type { DmaError } from '../errors.ts';
import type { MmioWindow } from '../iommu/address-space.ts';
import type { Handle, MmioFunctions } from '../native/addon.ts';
import { MappedRegisters } from '../registers/mapped.ts';
import { type Bar, type BarInfo, barNames, barPlaceError } from './bar.ts';

/** A BAR that is mapped into the process. */
export class MappedBar extends MappedRegisters implements Bar {
  readonly info: BarInfo;
  readonly window: MmioWindow | undefined;

  /**
   * @param registers native registers over the whole BAR; the caller keeps owning them
   * @param window the BAR as a region for DMA, where an IOMMU can lead DMA to it
   */
  constructor(info: BarInfo, native: MmioFunctions, registers: Handle, window?: MmioWindow) {
    super(barNames(info), native, registers);
    this.info = info;
    this.window = window;
  }

  protected override accessError(offset: number, width: number, write: boolean): DmaError | undefined {
    return barPlaceError(this.info, offset, width, write);
  }
}
