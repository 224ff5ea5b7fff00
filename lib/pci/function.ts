/** A PCI function as a driver holds it: configuration, registers, interrupts, memory. The same in every world. */
import type { DmaDevice } from '../dma/device.ts';
import type { IommuDomain } from '../dma/domain.ts';
import { closedError, DmaError } from '../errors.ts';
import { Interrupts } from '../interrupts/interrupt.ts';
import type { Bar } from './bar.ts';
import { ConfigSpace, PCI_COMMAND } from './config-space.ts';
import { Presence } from './presence.ts';
import { ExpansionRom } from './rom.ts';
import type { OpenedFunction, PciTransport } from './transport.ts';

export class PciFunction {
  readonly config: ConfigSpace;
  readonly interrupts: Interrupts;
  readonly dma: DmaDevice;
  readonly #transport: PciTransport;
  readonly #presence: Presence;
  readonly #rom: ExpansionRom | undefined;
  readonly #onClose: (fn: PciFunction) => void;
  #closed = false;

  /** @param releaseGrace see OpenOptions */
  constructor(
    { transport, dma }: OpenedFunction,
    onClose: (fn: PciFunction) => void = () => {},
    releaseGrace?: number,
  ) {
    this.#transport = transport;
    this.#onClose = onClose;
    this.dma = dma;
    this.config = new ConfigSpace(transport.config);
    this.#rom = transport.rom && new ExpansionRom(transport.rom);
    this.interrupts = new Interrupts(transport.interrupts);
    this.#presence = new Presence(transport, dma, releaseGrace);
  }

  /** `domain:bus:device.function`, e.g. `0000:00:10.0`. */
  get address(): string {
    return this.#transport.address;
  }

  /** How it is reached, for people: `vfio`, `sysfs` or `simulated`. */
  get transport(): string {
    return this.#transport.name;
  }

  /**
   * The address space that it shares with the other functions of its IOMMU group, and with those that are opened with
   * `openPci(..., { domain })`. Undefined without an IOMMU.
   */
  get domain(): IommuDomain | undefined {
    return this.dma.domain;
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

  /** The expansion ROM; undefined when the function has none. */
  get rom(): ExpansionRom | undefined {
    return this.#rom;
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
   * Aborts when the device is gone, with the DmaError ENODEV that every wait and every call fails with from then on: pass
   * it to whatever waits. Memory and mappings stay as they are until `close`, and can be given back.
   */
  get gone(): AbortSignal {
    return this.#presence.gone;
  }

  /**
   * Call `listener` when the system saw an error of this function that it could not correct (PCI Express AER, VFIO's
   * ERR): its registers and its DMA cannot be trusted until it is reset. Returns a function that ends that.
   */
  onError(listener: () => void): () => void {
    return this.#presence.onError(listener);
  }

  /**
   * Call `listener` when the system wants the function back (VFIO's REQ): it is about to be unplugged, or to be given to
   * another driver. Bring the device to rest there; once all listeners have settled, or after the `releaseGrace` of
   * `openPci`, or at once when there is none, the function is let go and `gone` aborts. Returns a function that ends it.
   */
  onReleaseRequest(listener: () => unknown): () => void {
    return this.#presence.onReleaseRequest(listener);
  }

  /**
   * Ask the device whether it is there: for a driver that reads all ones from a register, as one does of a device that
   * was pulled out. When it does not answer, the function is gone from here on. One configuration read.
   * @throws DmaError ENODEV closed · EIO configuration space fails otherwise
   */
  isPresent(): boolean {
    if (this.#closed) throw this.#closedError();
    return this.#presence.check();
  }

  /**
   * Stop the device, take back every vector, view and mapping, let it go. Afterwards every view has length 0 and
   * every call on what belonged to the function throws ENODEV or EINVAL. Harmless to call twice.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#presence.close();
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
