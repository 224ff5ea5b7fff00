/** Lends two halves of a cache line, of which the device writes one. */
import { Edu } from '../../examples/edu/driver.ts';
import { DEVICE_MEMORY } from './device-memory.ts';

export class Mistaken extends Edu {
  override async send(_view: Uint8Array): Promise<void> {
    const buffer = this.fn.dma.allocNoncoherent(4096, 'bidirectional');
    const first = this.fn.dma.mapSingle(buffer.bytes.subarray(0, 32), 'from-device'); // the mapping
    const second = this.fn.dma.mapSingle(buffer.bytes.subarray(32, 64), 'to-device'); // the mistake
    await this.transfer(second.dmaAddress, DEVICE_MEMORY, second.size, 0);
    second.unmap();
    first.unmap();
    buffer.free();
  }
}
