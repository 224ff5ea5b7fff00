/** A simulated function with a model that only remembers, for tests of everything around the model. */
import { expect } from 'vitest';
import { DmaError, type ErrnoName } from '../../lib/errors.ts';
import { FaultLog } from '../../lib/iommu/fault.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { SimulatedBus } from '../../lib/sim/bus.ts';
import type {
  BarDescription,
  DeviceBus,
  DeviceModel,
  FunctionDescription,
  Width,
} from '../../lib/sim/model.ts';
import { SimulatedTransport } from '../../lib/sim/transport.ts';

export const COMMAND = 0x04;
export const STATUS = 0x06;
export const MEMORY = 2;
export const MASTER = 4;
export const INTX_DISABLE = 1 << 10;

export class RecordingModel implements DeviceModel {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];
  readonly log: string[] = [];
  /** What the next reads return. */
  value = 0;
  bus!: DeviceBus;

  constructor(
    config: Partial<FunctionDescription> = {},
    bars: readonly BarDescription[] = [{ index: 0, size: 4096 }],
  ) {
    this.config = { vendorId: 0x1af4, deviceId: 0x0001, ...config };
    this.bars = bars;
  }

  attach(bus: DeviceBus): void {
    this.bus = bus;
  }

  reset(): void {
    this.log.push('reset');
  }

  read(bar: number, offset: number, width: Width): number {
    this.log.push(`read${8 * width} ${bar}:${offset}`);
    return this.value;
  }

  write(bar: number, offset: number, width: Width, value: number): void {
    this.log.push(`write${8 * width} ${bar}:${offset} ${value}`);
  }
}

export interface Slot<M extends DeviceModel> {
  readonly model: M;
  readonly bus: SimulatedBus;
  readonly space: SimulatedAddressSpace;
  readonly faults: FaultLog;
  readonly transport: SimulatedTransport;
}

export function plug<M extends DeviceModel>(model: M): Slot<M> {
  const faults = new FaultLog();
  const bus = new SimulatedBus(model, faults);
  const space = new SimulatedAddressSpace({ faults });
  return {
    model,
    bus,
    space,
    faults,
    transport: new SimulatedTransport({ address: '0000:00:10.0', bus, addressSpace: space }),
  };
}

/** Set bits of the command register. */
export function command(transport: SimulatedTransport, bits: number): void {
  transport.config.write(COMMAND, 2, transport.config.read(COMMAND, 2) | bits);
}

export function expectCode(code: ErrnoName, action: () => unknown): void {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(DmaError);
    expect((error as DmaError).code).toBe(code);
    return;
  }
  expect.unreachable(`${code} expected`);
}
