/** Keeps one mapping for several transfers from the device, and never syncs it. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY, FROM_DEVICE } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const received = new Uint8Array(view.length);
    const mapping = this.fn.dma.mapSingle(received, 'from-device'); // the mapping
    for (let round = 0; round < 3; round++) {
      await this.write(view.map((byte) => byte + round));
      await this.transfer(DEVICE_MEMORY, mapping.dmaAddress, mapping.size, FROM_DEVICE);
      received.indexOf(7);
    }
    mapping.unmap(); // noticed here
  }
}
