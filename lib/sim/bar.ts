/** Registers of a simulated device: every access is one call of the model. */
import type { DmaError } from '../errors.ts';
import type { ReservedBytes } from '../iommu/address-space.ts';
import { type RegisterWidth, SimulatedRegisters } from '../iommu/simulated-target.ts';
import { type Bar, type BarInfo, barAccessError, barPlaceError, touchesReserved } from '../pci/bar.ts';
import { isRegister, Registers } from '../registers/registers.ts';
import { registerValue, registerValue64 } from '../registers/values.ts';
import { answer64Of, answerOf } from './answer.ts';
import type { BusPort, SimulatedBus } from './bus.ts';
import type { DeviceModel, Width } from './model.ts';

/** The approximate cost of a register read on a real link. Writes are posted and cost the driver no time. */
const READ_MICROSECONDS = 1;

/** A BAR of a simulated function: each access reaches the model. */
export class SimulatedBar extends Registers implements Bar {
  readonly info: BarInfo;
  readonly size: number;
  readonly #bus: SimulatedBus;
  readonly #model: DeviceModel;
  readonly #window: BarRegisters | undefined;
  /** Undefined if the driver may use the whole BAR, as it may in most cases. */
  readonly #reserved: readonly ReservedBytes[] | undefined;
  #port: BusPort | undefined;

  constructor(info: BarInfo, bus: SimulatedBus, port: BusPort) {
    super();
    this.info = info;
    this.size = info.size;
    this.#bus = bus;
    this.#model = bus.model;
    this.#port = port;
    this.#reserved = info.reserved?.length ? info.reserved : undefined;
    this.#window = info.kind === 'memory' ? new BarRegisters(info, bus.model, port) : undefined;
  }

  get window(): SimulatedRegisters | undefined {
    return this.#window;
  }

  override read8(offset: number): number {
    return this.#read(offset, 1);
  }

  override read16(offset: number): number {
    return this.#read(offset, 2);
  }

  override read32(offset: number): number {
    return this.#read(offset, 4);
  }

  override read64(offset: number): bigint {
    this.#begin(offset, 8, false);
    this.#bus.clock.advance(READ_MICROSECONDS);
    const value = answer64Of(this.#model, this.info.index, offset);
    this.#checkThere(offset, 8);
    return value;
  }

  override write8(offset: number, value: number): void {
    this.#write(offset, 1, value);
  }

  override write16(offset: number, value: number): void {
    this.#write(offset, 2, value);
  }

  override write32(offset: number, value: number): void {
    this.#write(offset, 4, value);
  }

  override write64(offset: number, value: bigint): void {
    this.#begin(offset, 8, true);
    const pattern = registerValue64(value);
    const { index } = this.info;
    if (this.#model.write64 !== undefined) {
      this.#model.write64(index, offset, pattern);
    } else {
      this.#model.write(index, offset, 4, Number(pattern & 0xffffffffn));
      this.#model.write(index, offset + 4, 4, Number(pattern >> 32n));
    }
    this.#checkThere(offset, 8);
  }

  /** The function was closed, or the device is gone: from here on every access throws ENODEV. */
  close(): void {
    this.#port = undefined;
    this.#window?.close();
  }

  protected override accessError(offset: number, width: number, write: boolean): DmaError | undefined {
    if (this.#port === undefined) return barAccessError(this.info, offset, width, 'ENODEV');
    return barPlaceError(this.info, offset, width, write);
  }

  #read(offset: number, width: Width): number {
    this.#begin(offset, width, false);
    this.#bus.clock.advance(READ_MICROSECONDS);
    const value = answerOf(this.#model, this.info.index, offset, width);
    this.#checkThere(offset, width);
    return value;
  }

  #write(offset: number, width: Width, value: number): void {
    this.#begin(offset, width, true);
    this.#model.write(this.info.index, offset, width, registerValue(value, width));
    this.#checkThere(offset, width);
  }

  #begin(offset: number, width: number, write: boolean): void {
    const { info } = this;
    this.#checkThere(offset, width);
    if (!isRegister(offset, width, info.size)) throw barAccessError(info, offset, width, 'EINVAL');
    if (this.#reserved !== undefined && touchesReserved(this.#reserved, offset, width, write)) {
      throw barAccessError(info, offset, width, 'EPERM');
    }
    if (!this.#port!.config.decodes(info.kind)) throw barAccessError(info, offset, width, 'EIO');
  }

  /** Called again after the access, because a device may go in the middle of it. */
  #checkThere(offset: number, width: number): void {
    if (this.#port === undefined) throw barAccessError(this.info, offset, width, 'ENODEV');
  }
}

/**
 * The registers as the DMA of a function sees them. They are those of the model, without the driver's clock and
 * checks.
 */
class BarRegisters extends SimulatedRegisters {
  override readonly size: number;
  override readonly reserved: readonly ReservedBytes[];
  readonly #index: number;
  readonly #model: DeviceModel;
  #port: BusPort | undefined;

  constructor({ index, size, reserved = [] }: BarInfo, model: DeviceModel, port: BusPort) {
    super();
    this.size = size;
    this.reserved = reserved;
    this.#index = index;
    this.#model = model;
    this.#port = port;
  }

  override get closed(): boolean {
    return this.#port === undefined;
  }

  override get decodes(): boolean {
    return this.#port?.config.decodes('memory') ?? false;
  }

  override read(offset: number, width: RegisterWidth): number {
    return answerOf(this.#model, this.#index, offset, width);
  }

  override write(offset: number, width: RegisterWidth, value: number): void {
    this.#model.write(this.#index, offset, width, value);
  }

  close(): void {
    this.#port = undefined;
  }
}
