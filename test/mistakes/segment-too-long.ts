/** Gives the device a longer segment than it says it takes. */
import { Edu } from '../../examples/edu/driver.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    this.fn.dma.limits.maxSegmentSize = 512;
    const list = this.fn.dma.mapSg([view], 'to-device'); // the mistake
    list.unmap();
  }
}
