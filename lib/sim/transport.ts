/** The connection of a driver to a simulated function, while the driver has it open. */
import { closedError, DmaError, goneError } from '../errors.ts';
import type { Requester } from '../iommu/device-access.ts';
import type { SimulatedAddressSpace } from '../iommu/simulated.ts';
import type { Bar } from '../pci/bar.ts';
import { PCI_BARS, PCI_COMMAND } from '../pci/header.ts';
import type { ConfigAccess, FunctionEvents, PciTransport, RomAccess } from '../pci/transport.ts';
import { SimulatedBar } from './bar.ts';
import type { SimulatedBus } from './bus.ts';
import { SimulatedConfigSpace } from './config-space.ts';
import type { SimulatedGroup } from './group.ts';
import { type ArmListener, SimulatedInterrupts } from './interrupts.ts';

/** The offset of the command register. */
const COMMAND = 0x04;

export interface SimulatedTransportOptions {
  readonly address: string;
  readonly bus: SimulatedBus;
  readonly addressSpace: SimulatedAddressSpace;
  /** The identity of the device when it accesses memory. Default: it is the only device. */
  readonly requester?: Requester;
  /** The functions on its bus. Default: it is alone. */
  readonly group?: SimulatedGroup;
  /** Called once, after the device was released. */
  readonly onRelease?: () => void;
  /** Called before a vector is armed. If it throws, arming throws its error. */
  readonly onArm?: ArmListener;
}

/** The transport of an open simulated function. */
export class SimulatedTransport implements PciTransport {
  readonly name = 'simulated';
  readonly restoresConfiguration = true;
  readonly address: string;
  readonly config: ConfigAccess;
  readonly bars: readonly (Bar | undefined)[];
  readonly interrupts: SimulatedInterrupts;
  readonly rom: RomAccess | undefined;
  readonly #bus: SimulatedBus;
  readonly #registers: readonly SimulatedBar[];
  readonly #onRelease: () => void;
  readonly #group: SimulatedGroup | undefined;
  #events: FunctionEvents | undefined;
  #closed = false;
  #gone: DmaError | undefined;

  /** @throws DmaError EBUSY the function is open */
  constructor(options: SimulatedTransportOptions) {
    const { address, bus, addressSpace, onRelease = () => {} } = options;
    const requester: Requester = options.requester ?? addressSpace;
    const description = bus.model.config;
    const multiFunction = (options.group?.functionsOf(address).length ?? 0) > 1;
    const config = new SimulatedConfigSpace(description, bus.bars, multiFunction);
    const interrupts = new SimulatedInterrupts(description, config, options.onArm, {
      name: address,
      scheduled: () => bus.clock.scheduled,
      lost: (kind, vector) => requester.onLostInterrupt?.(kind, vector),
    });
    const port = {
      config,
      interrupts,
      addressSpace,
      requester,
      leave: () => this.leave(),
      reportError: () => this.#events?.error(),
      requestRelease: () => (this.#events === undefined ? this.leave() : this.#events.releaseRequest()),
      wasReset: (functions: readonly string[]) => this.#events?.reset(functions),
    };
    bus.connect(port);
    this.address = address;
    this.interrupts = interrupts;
    this.config = this.#guard(config);
    this.rom = description.rom && this.#openRom(description.rom, config);
    this.#bus = bus;
    this.#onRelease = onRelease;
    this.#group = options.group;
    this.#registers = bus.bars.map((info) => new SimulatedBar(info, bus, port));
    this.bars = Array.from({ length: PCI_BARS }, (_, index) =>
      this.#registers.find((bar) => bar.info.index === index),
    );
  }

  reset(): void {
    this.#checkOpen();
    if (!this.#bus.model.config.functionLevelReset) {
      throw new DmaError('EOPNOTSUPP', `${this.address} cannot be reset alone`, {
        remedy: 'bring the device to rest through its own registers',
      });
    }
    this.resetDevice();
  }

  hotReset(): readonly string[] {
    this.#checkOpen();
    this.resetDevice();
    const others = (this.#group?.members ?? []).filter(({ bus }) => bus !== this.#bus && bus.plugged);
    const functions = [this.address, ...others.map(({ address }) => address)];
    for (const { bus } of others) {
      bus.lagging?.settle();
      bus.reset();
    }
    for (const { bus } of others) bus.tellReset(functions);
    return functions;
  }

  watch(events: FunctionEvents): void {
    this.#events = events;
  }

  /** The device was pulled out, or is released: from here on every access fails. */
  leave(): void {
    if (this.#closed || this.#gone !== undefined) return;
    const error = goneError(this.address);
    this.#gone = error;
    this.interrupts.leave(error);
    for (const bar of this.#registers) bar.close();
    this.#release();
    this.#events?.gone(error);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.interrupts.close();
    for (const bar of this.#registers) bar.close();
    // The model may throw, e.g. because its waveform has no end: the function can be opened again all the same.
    try {
      if (this.#gone === undefined) this.#release();
    } finally {
      this.#bus.disconnect();
    }
  }

  /** If a configuration write asks for a reset that fails, VFIO does not tell the driver (vfio_exp_config_write). */
  #tryReset(): void {
    try {
      this.resetDevice();
    } catch (error) {
      if (!(error instanceof DmaError && error.code === 'EAGAIN')) throw error;
    }
  }

  /** The driver asked for a reset that the function supports. */
  protected resetDevice(): void {
    this.#bus.lagging?.settle();
    this.#bus.reset();
  }

  /** Leaves the function as the kernel does: quiet, and reset if it can be reset. */
  #release(): void {
    if (this.#bus.plugged && this.#bus.model.config.functionLevelReset) this.#bus.reset();
    try {
      this.#bus.release();
    } finally {
      this.#onRelease();
    }
  }

  #openRom(rom: Uint8Array, config: SimulatedConfigSpace): RomAccess {
    const read = (): Uint8Array => {
      this.#checkOpen();
      if (config.decodes('memory')) return rom.slice();
      throw new DmaError('EIO', `the ROM of ${this.address} does not answer`, {
        remedy: 'it needs memory decode and power state D0',
      });
    };
    return { size: rom.length, read };
  }

  #guard(config: SimulatedConfigSpace): ConfigAccess {
    return {
      size: config.size,
      read: (offset, width) => {
        this.#checkOpen();
        this.#bus.lagging?.beforeConfigRead();
        return config.read(offset, width);
      },
      write: (offset, width, value) => {
        this.#checkOpen();
        const { lagging } = this.#bus;
        lagging?.beforeConfigWrite();
        if (config.busMaster && clearsMaster(offset, width, value)) lagging?.settle();
        const effect = config.write(offset, width, value);
        if (effect === 'power') this.#bus.reset();
        if (effect === 'function') this.#tryReset();
        this.interrupts.updateCommand();
      },
    };
  }

  #checkOpen(): void {
    if (this.#closed) throw closedError(this.address);
    if (this.#gone !== undefined) throw this.#gone;
  }
}

/** True if a configuration write turns bus mastering off. */
function clearsMaster(offset: number, width: number, value: number): boolean {
  const bit = 8 * (COMMAND - offset);
  return bit >= 0 && bit < 8 * width && ((value >>> bit) & PCI_COMMAND.master) === 0;
}
