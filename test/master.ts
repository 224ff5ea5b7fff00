/** A device without registers, whose bus the test drives. */
import type { BarDescription, DeviceBus, DeviceModel } from '../lib/sim/index.ts';

export class Master implements DeviceModel {
  readonly config = { vendorId: 0x1af4, deviceId: 0x0001 };
  readonly bars: readonly BarDescription[] = [];
  bus!: DeviceBus;

  attach(bus: DeviceBus): void {
    this.bus = bus;
  }

  reset(): void {}

  read(): number {
    return 0;
  }

  write(): void {}
}
