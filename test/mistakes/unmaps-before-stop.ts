/** Unmaps what the device is about to use, and stops the device after that. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const mapping = this.fn.dma.mapSingle(view, 'to-device'); // the mapping
    this.start(mapping.dmaAddress, DEVICE_MEMORY, mapping.size, 0);
    mapping.unmap(); // the mistake
    this.fn.clearMaster();
  }
}
