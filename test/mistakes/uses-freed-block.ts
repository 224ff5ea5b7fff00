/** Touches a block that is back in the pool. */
import { Edu } from '../../examples/edu/driver.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    using pool = this.fn.dma.createPool('blocks', { size: view.length, align: 64 });
    const block = pool.alloc()!; // the mapping
    block.free(); // the release
    block.bytes.set(view); // the mistake
  }
}
