/**
 * A PCI function, as a driver sees it: configuration, registers, interrupts and memory. It is the same class in
 * every world.
 */
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
import { MasteringConfig } from './mastering.ts';
import { Presence } from './presence.ts';
import { type ResetKind, type ResetReport, Resets } from './reset.ts';
import { ExpansionRom } from './rom.ts';
import type { OpenedFunction, PciTransport } from './transport.ts';

/** D3cold is the state of a function without power. */
export type PowerState = SettablePowerState | 'D3cold';

/** An opened PCI function: its configuration space, registers, interrupts and DMA. */
export class PciFunction {
  readonly config: ConfigSpace;
  readonly interrupts: Interrupts;
  readonly dma: DmaDevice;
  readonly #transport: PciTransport;
  /** Configuration space that does not report resets, for code that reports them itself. */
  readonly #quietConfig: ConfigSpace;
  /** Under dma-debug. */
  readonly #mastering: MasteringConfig | undefined;
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
    this.#mastering = dma.debug && new MasteringConfig(transport.config);
    const access = this.#mastering ?? transport.config;
    this.#quietConfig = new ConfigSpace(access);
    this.config = new ConfigSpace(
      transport.restoresConfiguration
        ? new ConfigWithResets(access, this.#quietConfig, (kind) => this.#wasReset(kind))
        : access,
    );
    this.#rom = transport.rom && new ExpansionRom(transport.rom);
    this.interrupts = new Interrupts(transport.interrupts);
    this.#resets = new Resets(transport, this.#quietConfig, this.interrupts);
    this.#presence = new Presence(transport, dma, releaseGrace, (functions) => {
      // If this recovery fails, the function that asked for the hot reset must not fail with it.
      attempt(() => this.#resets.recover('hot', functions));
    });
  }

  /** `domain:bus:device.function`, e.g. `0000:00:10.0`. */
  get address(): string {
    return this.#transport.address;
  }

  /** How the function is reached, as a word for people: `vfio`, `sysfs` or `simulated`. */
  get transport(): string {
    return this.#transport.name;
  }

  /**
   * The address space of the function. The other functions of its IOMMU group share it, and so do those that are
   * opened with `openPci(..., { domain })`. Undefined without an IOMMU.
   */
  get domain(): IommuDomain | undefined {
    return this.dma.domain;
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * The registers of one base address register, 0 to 5.
   * @throws DmaError EINVAL the function has no such BAR · ENODEV closed
   */
  bar(index: number): Bar {
    if (this.#closed) throw this.#closedError();
    const bar = typeof index === 'number' ? this.#transport.bars[index] : undefined;
    if (bar !== undefined) return bar;
    const present = this.#transport.bars.flatMap((one) => (one === undefined ? [] : [one.info.index]));
    throw new DmaError('EINVAL', `${this.address} has no BAR ${describe(index)}`, {
      remedy: present.length === 0 ? 'the function has no BAR' : `it has BAR ${present.join(', ')}`,
    });
  }

  /** The expansion ROM; undefined when the function has none. */
  get rom(): ExpansionRom | undefined {
    return this.#rom;
  }

  /** True if the function may start DMA. It is false when the function is opened. */
  get busMaster(): boolean {
    return (this.config.command & PCI_COMMAND.master) !== 0;
  }

  /** Let the function start DMA and send MSI (pci_set_master). */
  setMaster(): void {
    this.config.command |= PCI_COMMAND.master;
  }

  /**
   * Forbid the function to start DMA (pci_clear_master). On a device that is gone this does nothing.
   * @throws DmaError ENODEV closed
   */
  clearMaster(): void {
    if (this.#closed) throw this.#closedError();
    this.#stop();
  }

  /**
   * Reset this function alone. The registers of the device are as after power-up. Configuration space, bus
   * mastering and armed vectors stay, memory is decoded, and INTx is unmasked. The call blocks for as long as the
   * kernel takes, mostly 100 ms. If it throws, nothing has changed.
   * @throws DmaError EOPNOTSUPP it cannot be reset alone · EAGAIN busy · ENODEV closed, or gone
   */
  reset(): ResetReport {
    if (this.#closed) throw this.#closedError();
    return this.#resets.function();
  }

  /**
   * Reset the bus or slot of this function, with every function on it. Each of them is in the state that `reset`
   * leaves. `onReset` tells those functions that this process has open. The call blocks for as long as the kernel
   * takes, about a second.
   * @throws DmaError EOPNOTSUPP its bus cannot be reset (a root bus) · EPERM it would hit functions whose IOMMU
   *   group this process does not hold · EAGAIN busy · EIO it failed, but the functions may have been reset:
   *   `onReset` is called then, too · ENODEV closed, or gone
   */
  hotReset(): ResetReport {
    if (this.#closed) throw this.#closedError();
    return this.#resets.hot();
  }

  /**
   * Call `listener` after each reset of this function. The causes are: `reset`, `hotReset` of this function or of
   * another one on its bus, leaving D3hot, and a write to configuration space that resets (except through
   * `openPciUnsafe`). Returns a function that removes the listener.
   */
  onReset(listener: (report: ResetReport) => void): () => void {
    return this.#resets.listen(listener);
  }

  /**
   * D0 for a function without power management; D3cold if the device does not answer.
   * @throws DmaError ENODEV closed, or gone
   */
  get powerState(): PowerState {
    if (!answers(this.#transport.config)) return 'D3cold';
    return this.config.powerManagement?.state ?? 'D0';
  }

  /**
   * Change the power state, and wait until the function may be accessed again (pci_set_power_state). In D3hot
   * every access of memory registers throws EIO (I/O ports read all ones on hardware), and the function starts
   * neither DMA nor interrupts: bring it to rest before. If `config.powerManagement.noSoftReset` is false, the
   * function loses its registers on its way back to D0, and this class reports that as a reset.
   * @returns what was reset, or undefined if nothing was
   * @throws DmaError EINVAL it has no such state, or cannot reach it from its present state · EOPNOTSUPP no power
   *   management · EIO it does not change · ENODEV closed, or gone
   */
  async setPowerState(state: SettablePowerState): Promise<ResetReport | undefined> {
    if (this.#closed) throw this.#closedError();
    checkState(state, 'the power state');
    const { changePowerState } = await import('./power.ts');
    return changePowerState(state, this.#quietConfig, this.#transport, this.#resets);
  }

  /**
   * Aborts when the device is gone. The reason is the DmaError ENODEV that every wait and every call throws from
   * then on. Pass this signal to everything that waits. Memory and mappings stay as they are until `close`, and
   * can be freed and unmapped.
   */
  get gone(): AbortSignal {
    return this.#presence.gone;
  }

  /**
   * Call `listener` when the system saw an error of this function that it could not correct (PCI Express AER,
   * VFIO's ERR). The driver cannot trust its registers and its DMA until it is reset. Returns a function that
   * removes the listener.
   */
  onError(listener: () => void): () => void {
    return this.#presence.onError(listener);
  }

  /**
   * Call `listener` when the system wants the function back (VFIO's REQ), because it is about to be unplugged or
   * to get another driver. The listener brings the device to rest. The function is released, and `gone` aborts,
   * once all listeners have settled, or after the `releaseGrace` of `openPci`, or at once if there is no
   * listener. Returns a function that removes the listener.
   */
  onReleaseRequest(listener: () => unknown): () => void {
    return this.#presence.onReleaseRequest(listener);
  }

  /**
   * Ask the device if it is there. A driver calls this when a register reads all ones, as every register of a
   * device does that was pulled out. If the device does not answer, the function is gone from then on. This costs
   * one configuration read.
   * @throws DmaError ENODEV closed · EIO configuration space fails for another reason
   */
  isPresent(): boolean {
    if (this.#closed) throw this.#closedError();
    return this.#presence.check();
  }

  /**
   * Stop the device, free every vector, view and mapping, and release the device. Afterwards every view has
   * length 0, and every call on an object of the function throws ENODEV or EINVAL. Calling it twice is harmless.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#presence.close();
    this.#resets.close();
    // The order matters: DMA must be over before memory goes, and no callback may run on a closed function.
    const steps = [
      () => this.#stop(),
      () => this.interrupts.close(),
      () => this.dma.debug?.closing(this.#mastering!.wasOn || this.gone.aborted),
      () => this.dma.close(),
      () => this.#transport.close(),
      () => this.#onClose(this),
    ];
    const errors = steps.flatMap((step) => attempt(step));
    if (errors.length > 0) throw errors[0];
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The driver reset the function by a write to configuration space. */
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

/** A step may fail because the device is gone. The later steps must release their resources nevertheless. */
function attempt(step: () => void): unknown[] {
  try {
    step();
    return [];
  } catch (error) {
    return [error];
  }
}
