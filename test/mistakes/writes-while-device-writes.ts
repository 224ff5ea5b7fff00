/** Clears a buffer that it has lent already. */
import { Edu } from '../../examples/edu/driver.ts';

export class Mistaken extends Edu {
  override async send(view: Uint8Array): Promise<void> {
    const mapping = this.fn.dma.mapSingle(view, 'from-device'); // the mapping
    view.fill(0xcc); // The mistake: a store, which no stack can show.
    mapping.syncForCpu(); // noticed here
    mapping.unmap();
  }
}
