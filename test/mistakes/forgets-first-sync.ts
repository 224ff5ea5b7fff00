/** Never gives the device the memory it tells it of. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY, FROM_DEVICE } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const buffer = this.fn.dma.allocNoncoherent(view.length, 'from-device'); // the mapping
    await this.transfer(DEVICE_MEMORY, buffer.dmaAddress, buffer.size, FROM_DEVICE);
    buffer.syncForCpu();
    view.set(buffer.bytes);
    buffer.free();
  }
}
