/** Frees coherent memory that the device is about to use, and stops the device after that. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const page = this.fn.dma.allocCoherent(4096); // the mapping
    page.bytes.set(view);
    this.start(page.dmaAddress, DEVICE_MEMORY, view.length, 0);
    page.free(); // the mistake
    this.fn.clearMaster();
  }
}
