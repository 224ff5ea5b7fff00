/** Tells the device an address of its own invention. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY, FROM_DEVICE } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    await this.transfer(DEVICE_MEMORY, 0x70_0000n, view.length, FROM_DEVICE);
  }
}
