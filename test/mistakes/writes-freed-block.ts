/** Keeps a view of a block, and writes to it after the block was freed. */
import { Edu } from '../../examples/edu/driver.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    using pool = this.fn.dma.createPool('blocks', { size: view.length, align: 64, poison: true });
    const block = pool.alloc()!; // the mapping
    const { bytes } = block;
    block.free();
    bytes.set(view); // The mistake: a store, which no stack can show.
    pool.alloc(); // noticed here
  }
}
