/** Reads what the device wrote without taking it back first. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY, FROM_DEVICE } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const buffer = this.fn.dma.allocNoncoherent(view.length, 'from-device'); // the mapping
    for (let turn = 0; turn < 2; turn++) {
      buffer.syncForDevice(); // the mistake
      await this.transfer(DEVICE_MEMORY, buffer.dmaAddress, buffer.size, FROM_DEVICE);
      view.set(buffer.bytes);
    }
    buffer.free();
  }
}
