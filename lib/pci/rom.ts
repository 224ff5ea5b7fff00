/** The expansion ROM of a function (PCI Local Bus 3.0, 6.3): firmware for the host, such as a boot driver. */
import { DmaError } from '../errors.ts';
import type { RomAccess } from './transport.ts';

/** The expansion ROM of a function. */
export class ExpansionRom {
  readonly #access: RomAccess;

  /** @internal */
  constructor(access: RomAccess) {
    this.#access = access;
  }

  /**
   * Bytes of the region. The image in it may be shorter; with `openPciUnsafe`, `read` returns no more than the
   * image.
   */
  get size(): number {
    return this.#access.size;
  }

  /**
   * A copy of the whole ROM.
   * @throws DmaError EIO it does not answer, or does not start with the signature 0x55 0xaa · ENODEV closed, or
   *   gone
   */
  read(): Uint8Array {
    const bytes = this.#access.read();
    if (bytes[0] === 0x55 && bytes[1] === 0xaa) return bytes;
    throw new DmaError('EIO', `the ROM of ${bytes.length} bytes holds no image`, {
      remedy: 'it starts without 0x55 0xaa: the ROM is empty, damaged, or switched off',
    });
  }
}
