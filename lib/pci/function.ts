/** A PCI function as a driver holds it: configuration, registers, interrupts, memory. The same in every world. */
import { describe, oneOf } from '../arguments.ts';
import type { DmaDevice } from '../dma/device.ts';
import type { IommuDomain } from '../dma/operations/domain.ts';
import { closedError, DmaError } from '../errors.ts';
import { Interrupts } from '../interrupts/interrupt.ts';
import type { Bar } from './bar.ts';
import type { SettablePowerState } from './capabilities/standard.ts';
import { ConfigWithResets } from './config-resets.ts';
import { answers, ConfigSpace } from './config-space.ts';
import { PCI_COMMAND } from './header.ts';
import { Presence } from './presence.ts';
import { type ResetKind, type ResetReport, Resets } from './reset.ts';
import { ExpansionRom } from './rom.ts';
import type { OpenedFunction, PciTransport } from './transport.ts';

/** D3cold is a function without power. */
export type PowerState = SettablePowerState | 'D3cold';

/** An opened PCI function: its configuration space, registers, interrupts and DMA. */
export class PciFunction {
  readonly config: ConfigSpace;
  readonly interrupts: Interrupts;
  readonly dma: DmaDevice;
  readonly #transport: PciTransport;
  /** Configuration space that reports no resets, for code that reports them itself. */
  readonly #quietConfig: ConfigSpace;
  readonly #presence: Presence;
  readonly #resets: Resets;
  readonly #rom: ExpansionRom | undefined;
  readonly #onClose: (fn: PciFunction) => void;
  #closed = false;

  /** @param releaseGrace see OpenOptions @internal */
  constructor(
    { transport, dma }: OpenedFunction,
    onClose: (fn: PciFunction) => void = () => {},
    releaseGrace?: number,
  ) {
    this.#transport = transport;
    this.#onClose = onClose;
    this.dma = dma;
    this.#quietConfig = new ConfigSpace(transport.config);
    this.config = new ConfigSpace(
      transport.restoresConfiguration
        ? new ConfigWithResets(transport.config, this.#quietConfig, (kind) => this.#wasReset(kind))
        : transport.config,
    );
    this.#rom = transport.rom && new ExpansionRom(transport.rom);
    this.interrupts = new Interrupts(transport.interrupts);
    this.#resets = new Resets(transport, this.#quietConfig, this.interrupts);
    this.#presence = new Presence(transport, dma, releaseGrace, (functions) => {
      // The function that asked for the reset must not fail because of this one.
      attempt(() => this.#resets.recover('hot', functions));
    });
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
    const bar = typeof index === 'number' ? this.#transport.bars[index] : undefined;
    if (bar !== undefined) return bar;
    const present = this.#transport.bars.flatMap((one) => (one === undefined ? [] : [one.info.index]));
    throw new DmaError('EINVAL', `${this.address} has no BAR ${describe(index)}`, {
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

  /**
   * Stop it from starting any more (pci_clear_master). A device that is gone does none.
   * @throws DmaError ENODEV closed
   */
  clearMaster(): void {
    if (this.#closed) throw this.#closedError();
    this.#stop();
  }

  /**
   * Reset this function alone: the registers of the device are as after power-up. Configuration space, bus mastering
   * and armed vectors stay, memory is decoded, and INTx is unmasked. Blocks for as long as the kernel takes, 100 ms
   * mostly. After an error nothing has changed.
   * @throws DmaError EOPNOTSUPP it cannot be reset alone · EAGAIN busy · ENODEV closed, or gone
   */
  reset(): ResetReport {
    if (this.#closed) throw this.#closedError();
    return this.#resets.function();
  }

  /**
   * Reset the bus or slot of this function, and every function on it: as `reset` for each of them. Those that this
   * process has open are told by `onReset`. Blocks for as long as the kernel takes, a second or so.
   * @throws DmaError EOPNOTSUPP its bus cannot be reset (a root bus) · EPERM it would hit functions whose IOMMU group
   *   this process does not hold · EAGAIN busy · EIO it failed, and they may have been reset nevertheless: `onReset` is
   *   called then, too · ENODEV closed, or gone
   */
  hotReset(): ResetReport {
    if (this.#closed) throw this.#closedError();
    return this.#resets.hot();
  }

  /**
   * Call `listener` after each reset of this function, whatever caused it: `reset`, `hotReset` of this function or of
   * another one on its bus, the way out of D3hot, a write of configuration space that resets (not through
   * `openPciUnsafe`). Returns a function that ends that.
   */
  onReset(listener: (report: ResetReport) => void): () => void {
    return this.#resets.listen(listener);
  }

  /**
   * D0 for a function without power management; D3cold when the device does not answer.
   * @throws DmaError ENODEV closed, or gone
   */
  get powerState(): PowerState {
    if (!answers(this.#transport.config)) return 'D3cold';
    return this.config.powerManagement?.state ?? 'D0';
  }

  /**
   * Change the power state, and wait for as long as that takes (pci_set_power_state). In D3hot every access of memory
   * registers is EIO (of I/O ports, all ones on hardware), and the function starts neither DMA nor interrupts: bring it
   * to rest before. A function whose `config.powerManagement.noSoftReset` is false has lost its registers when it is
   * back in D0: that is reported as a reset.
   * @returns what was reset, or undefined when nothing was
   * @throws DmaError EINVAL it has no such state, or not on this way · EOPNOTSUPP no power management · EIO it does not
   *   change · ENODEV closed, or gone
   */
  async setPowerState(state: SettablePowerState): Promise<ResetReport | undefined> {
    if (this.#closed) throw this.#closedError();
    checkState(state, 'the power state');
    const { changePowerState } = await import('./power.ts');
    return changePowerState(state, this.#quietConfig, this.#transport, this.#resets);
  }

  /**
   * Aborts when the device is gone, with the DmaError ENODEV that every wait and every call fails with from then on:
   * pass it to whatever waits. Memory and mappings stay as they are until `close`, and can be given back.
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
   * Call `listener` when the system wants the function back (VFIO's REQ): it is about to be unplugged, or to be given
   * to another driver. Bring the device to rest there; once all listeners have settled, or after the `releaseGrace` of
   * `openPci`, or at once when there is none, the function is released and `gone` aborts. Returns a function that ends
   * it.
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
   * Stop the device, free every vector, view and mapping, and release the device. Afterwards every view has length 0
   * and every call on what belonged to the function throws ENODEV or EINVAL. Harmless to call twice.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#presence.close();
    this.#resets.close();
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

  /** By a write of configuration space. */
  #wasReset(kind: ResetKind): void {
    this.#resets.recover(kind, [this.address]);
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

const checkState = oneOf('D0', 'D1', 'D2', 'D3hot');

/** A step that fails (the device may be gone) must not keep the later ones from releasing what they hold. */
function attempt(step: () => void): unknown[] {
  try {
    step();
    return [];
  } catch (error) {
    return [error];
  }
}
