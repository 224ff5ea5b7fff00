/** Destroys a pool while a block is out. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const pool = this.fn.dma.createPool('blocks', { size: 4096, align: 64 }); // the mapping
    const block = pool.alloc()!;
    block.bytes.set(view);
    await this.transfer(block.dmaAddress, DEVICE_MEMORY, view.length, 0);
    pool.destroy(); // the mistake
  }
}
