/** Lends the same bytes twice, for the device to write. */
import { Edu } from '../../examples/edu/driver.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const first = this.fn.dma.mapSingle(view, 'from-device'); // the mapping
    const second = this.fn.dma.mapSingle(view.subarray(10), 'from-device'); // the mistake
    second.unmap();
    first.unmap();
  }
}
