/** A model in front of another one: what the driver gets of the device can be changed on its way. */
import type {
  BarDescription,
  DeviceBus,
  DeviceModel,
  FunctionDescription,
  Width,
} from '../../lib/sim/index.ts';

/** The address of an access, whose `address` is the low half alone if there is a `high` one. */
export function wholeAddress(address: bigint | number, high: number | undefined): bigint {
  if (high === undefined) return BigInt(address);
  return (BigInt(high) << 32n) | BigInt.asUintN(32, BigInt(address));
}

export abstract class WrappedModel<M extends DeviceModel = DeviceModel> implements DeviceModel {
  readonly model: M;
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];
  protected bus!: DeviceBus;

  constructor(model: M) {
    this.model = model;
    this.config = model.config;
    this.bars = model.bars;
  }

  attach(bus: DeviceBus): void {
    this.bus = bus;
    const self = this;
    this.model.attach({
      dmaRead: (address, into, high) => this.dmaRead(address, into, high),
      dmaWrite: (address, from, high, relaxed) => this.dmaWrite(address, from, high, relaxed),
      raise: (vector) => this.raise(vector),
      lower: () => bus.lower(),
      unplug: () => bus.unplug(),
      after: (microseconds, action) => this.after(microseconds, action),
      report: (address, size, access, reason) => bus.report(address, size, access, reason),
      get messages() {
        return self.bus.messages;
      },
      get now() {
        return self.bus.now;
      },
    });
  }

  reset(): void {
    this.model.reset();
  }

  read(bar: number, offset: number, width: Width): number {
    return this.model.read(bar, offset, width);
  }

  write(bar: number, offset: number, width: Width, value: number): void {
    this.model.write(bar, offset, width, value);
  }

  protected dmaRead(address: bigint | number, into: Uint8Array, high?: number): boolean {
    return this.bus.dmaRead(address, into, high);
  }

  protected dmaWrite(address: bigint | number, from: Uint8Array, high?: number, relaxed?: boolean): boolean {
    return this.bus.dmaWrite(address, from, high, relaxed);
  }

  protected raise(vector?: number): void {
    this.bus.raise(vector);
  }

  protected after(microseconds: number, action: () => void): void {
    this.bus.after(microseconds, action);
  }
}
