/** Receives into memory that the device may only read. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY, FROM_DEVICE } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const mapping = this.fn.dma.mapSingle(view, 'to-device'); // the mistake
    await this.transfer(DEVICE_MEMORY, mapping.dmaAddress, mapping.size, FROM_DEVICE);
    mapping.unmap();
  }
}
