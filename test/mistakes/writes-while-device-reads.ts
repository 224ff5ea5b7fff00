/** Changes what the device is sending. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const mapping = this.fn.dma.mapSingle(view, 'to-device'); // the mapping
    await this.transfer(mapping.dmaAddress, DEVICE_MEMORY, mapping.size, 0);
    view[7]! += 1; // The mistake: a store, which no stack can show.
    mapping.unmap(); // noticed here
  }
}
