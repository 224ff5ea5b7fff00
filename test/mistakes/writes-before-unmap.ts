/** Writes after syncForCpu what the coming unmap undoes. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY, FROM_DEVICE } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const mapping = this.fn.dma.mapSingle(view, 'from-device'); // the mapping
    await this.transfer(DEVICE_MEMORY, mapping.dmaAddress, mapping.size, FROM_DEVICE);
    mapping.syncForCpu();
    view[0]! ^= 0xff;
    mapping.unmap(); // the mistake
  }
}
