/** Has 32 bits for an address that has more. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const page = this.fn.dma.allocCoherent(4096);
    page.bytes.set(view);
    await this.transfer(BigInt(page.low), DEVICE_MEMORY, view.length, 0);
    page.free();
  }
}
