/** Never takes back what it lent. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const mapping = this.fn.dma.mapSingle(view, 'to-device'); // the mistake
    await this.transfer(mapping.dmaAddress, DEVICE_MEMORY, mapping.size, 0);
  }
}
