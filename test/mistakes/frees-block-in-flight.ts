/** Frees a block that the device still points at. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const pool = this.fn.dma.createPool('blocks', { size: view.length, align: 64 });
    const block = pool.alloc()!; // the mapping
    block.bytes.set(view);
    this.start(block.dmaAddress, DEVICE_MEMORY, view.length, 0);
    block.free(); // the mistake
    await this.interrupt.wait();
    pool.destroy();
  }
}
