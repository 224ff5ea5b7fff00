/** Gets the offset of the first byte wrong. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const mapping = this.fn.dma.mapSingle(view.subarray(100), 'to-device'); // the mapping
    await this.transfer(mapping.dmaAddress + 1000n, DEVICE_MEMORY, 8, 0);
    mapping.unmap();
  }
}
