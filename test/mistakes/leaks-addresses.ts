/** Never gives back the addresses it reserved. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const page = this.fn.dma.allocCoherent(4096);
    const range = this.fn.dma.reserveIova(4096)!; // the mistake
    range.link(0, page.bytes, 'to-device');
    range.sync();
    await this.transfer(range.dmaAddress, DEVICE_MEMORY, view.length, 0);
    range.unlink(0, 4096);
    page.free();
  }
}
