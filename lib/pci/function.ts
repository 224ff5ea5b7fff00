/** A PCI function as a driver holds it: configuration, registers, interrupts, memory. The same in every world. */
import type { DmaDevice } from '../dma/device.ts';
import { closedError, DmaError } from '../errors.ts';
import { Interrupts } from '../interrupts/interrupt.ts';
import type { Bar } from './bar.ts';
import { ConfigSpace, PCI_COMMAND } from './config-space.ts';
import type { OpenedFunction, PciTransport } from './transport.ts';

export class PciFunction {
  readonly config: ConfigSpace;
  readonly interrupts: Interrupts;
  readonly dma: DmaDevice;
  readonly #transport: PciTransport;
  readonly #onClose: (fn: PciFunction) => void;
  #closed = false;

  constructor({ transport, dma }: OpenedFunction, onClose: (fn: PciFunction) => void = () => {}) {
    this.#transport = transport;
    this.#onClose = onClose;
    this.dma = dma;
    this.config = new ConfigSpace(transport.config);
    this.interrupts = new Interrupts(transport.interrupts);
  }

  /** `domain:bus:device.function`, e.g. `0000:00:10.0`. */
  get address(): string {
    return this.#transport.address;
  }

  /** How it is reached, for people: `vfio`, `sysfs` or `simulated`. */
  get transport(): string {
    return this.#transport.name;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Registers of one base address register, 0 to 5.
   * @throws DmaError EINVAL the function has no such BAR · ENODEV closed
   */
  bar(index: number): Bar {
    if (this.#closed) throw this.#closedError();
    const bar = this.#transport.bars[index];
    if (bar !== undefined) return bar;
    const present = this.#transport.bars.flatMap((one) => (one === undefined ? [] : [one.info.index]));
    throw new DmaError('EINVAL', `${this.address} has no BAR ${String(index)}`, {
      remedy: present.length === 0 ? 'it has none at all' : `it has BAR ${present.join(', ')}`,
    });
  }

  /** Whether the function may start DMA. Off when opened. */
  get busMaster(): boolean {
    return (this.config.command & PCI_COMMAND.master) !== 0;
  }

  /** Let the function start DMA and send MSI (pci_set_master). */
  setMaster(): void {
    this.config.command |= PCI_COMMAND.master;
  }

  /** Stop it from starting any more (pci_clear_master). A device that is gone does none. @throws DmaError ENODEV closed */
  clearMaster(): void {
    if (this.#closed) throw this.#closedError();
    this.#stop();
  }

  /**
   * Function-level reset: the registers of the device are as after power-up. Configuration space and armed vectors
   * stay, as VFIO restores both.
   * @throws DmaError EOPNOTSUPP it cannot be reset alone · EAGAIN busy · ENODEV closed, or gone
   */
  reset(): void {
    if (this.#closed) throw this.#closedError();
    this.#transport.reset();
  }

  /**
   * Stop the device, take back every vector, view and mapping, let it go. Afterwards every view has length 0 and
   * every call on what belonged to the function throws ENODEV or EINVAL. Harmless to call twice.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // In this order: no DMA may be under way when memory goes, and no callback may run on a closed function.
    const steps = [
      () => this.#stop(),
      () => this.interrupts.close(),
      () => this.dma.close(),
      () => this.#transport.close(),
      () => this.#onClose(this),
    ];
    const errors = steps.flatMap((step) => attempt(step));
    if (errors.length > 0) throw errors[0];
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #stop(): void {
    try {
      this.config.command &= ~PCI_COMMAND.master;
    } catch (error) {
      if (!(error instanceof DmaError && error.code === 'ENODEV')) throw error;
    }
  }

  #closedError(): DmaError {
    return closedError(this.address);
  }
}

/** A step that fails (the device may be gone) must not keep the later ones from releasing what they hold. */
function attempt(step: () => void): unknown[] {
  try {
    step();
    return [];
  } catch (error) {
    return [error];
  }
}
