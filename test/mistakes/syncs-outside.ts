/** Syncs more than it mapped. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY, FROM_DEVICE } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const mapping = this.fn.dma.mapSingle(view, 'from-device'); // the mapping
    await this.transfer(DEVICE_MEMORY, mapping.dmaAddress, mapping.size, FROM_DEVICE);
    try {
      mapping.syncForCpu(0, view.length + 1); // the mistake
    } finally {
      mapping.unmap();
    }
  }
}
