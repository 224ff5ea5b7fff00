/** Remembers an address for longer than the mapping. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const mapping = this.fn.dma.mapSingle(view, 'to-device'); // the mapping
    const address = mapping.dmaAddress;
    mapping.unmap(); // the mistake
    await this.transfer(address, DEVICE_MEMORY, view.length, 0);
  }
}
