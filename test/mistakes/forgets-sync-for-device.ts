/** Writes in its turn, and does not say that the turn is over. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const mapping = this.fn.dma.mapSingle(view, 'to-device'); // the mapping
    await this.transfer(mapping.dmaAddress, DEVICE_MEMORY, mapping.size, 0);
    mapping.syncForCpu();
    view[3]! += 1;
    await this.transfer(mapping.dmaAddress, DEVICE_MEMORY, mapping.size, 0);
    mapping.syncForDevice();
    mapping.unmap();
  }
}
