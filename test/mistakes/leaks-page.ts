/** Never frees coherent memory. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const page = this.fn.dma.allocCoherent(4096); // the mistake
    page.bytes.set(view);
    await this.transfer(page.dmaAddress, DEVICE_MEMORY, view.length, 0);
  }
}
