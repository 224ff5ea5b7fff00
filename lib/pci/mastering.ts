/** Whether the driver of a function ever let it start DMA. dma-debug asks when the function is closed. */
import { PCI_COMMAND, PCI_HEADER } from './header.ts';
import type { ConfigAccess } from './transport.ts';

/** Configuration space that remembers whether bus mastering was ever on. */
export class MasteringConfig implements ConfigAccess {
  readonly size: number;
  readonly #access: ConfigAccess;
  #wasOn = false;

  constructor(access: ConfigAccess) {
    this.size = access.size;
    this.#access = access;
  }

  get wasOn(): boolean {
    return this.#wasOn;
  }

  read(offset: number, width: 1 | 2 | 4): number {
    return this.#access.read(offset, width);
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#access.write(offset, width, value);
    // The bit is in the low byte of the command register, which a write of any width begins with.
    if (offset === PCI_HEADER.command && (value & PCI_COMMAND.master) !== 0) this.#wasOn = true;
  }
}
