/** A BAR through VFIO, to which the DMA of functions in the same container can be led. */
import { Type1Window } from '../../iommu/type1.ts';
import type { Handle, MmioFunctions } from '../../native/addon.ts';
import type { BarInfo } from '../bar.ts';
import { MappedBar } from '../mapped-bar.ts';

export class VfioBar extends MappedBar {
  readonly #forDma: Type1Window | undefined;

  /** @param window over all of the BAR; it stays its owner's */
  constructor(info: BarInfo, native: MmioFunctions, window: Handle) {
    super(info, native, window);
    this.#forDma = info.kind === 'memory' ? new Type1Window(info.size, window, info.reserved) : undefined;
  }

  override get window(): Type1Window | undefined {
    return this.#forDma;
  }
}
