/** Tells the device a length that was not mapped. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const half = view.subarray(0, view.length / 2);
    const mapping = this.fn.dma.mapSingle(half, 'to-device'); // the mistake
    await this.transfer(mapping.dmaAddress, DEVICE_MEMORY, view.length, 0);
    mapping.unmap();
  }
}
