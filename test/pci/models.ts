/** Devices that describe themselves as those of the virtual machine do: enough of an NVMe disk and of an e1000e. */
import type {
  BarDescription,
  DeviceBus,
  DeviceModel,
  FunctionDescription,
  Width,
} from '../../lib/sim/index.ts';

/** Register of these models that raises the interrupt vector that is written to it. */
export const TRIGGER = 0x1000;

/** Registers that keep what is written, until a reset. */
class RegisterFile implements DeviceModel {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];
  readonly #values = new Map<string, number>();
  #bus!: DeviceBus;
  /** How often the device was reset, power-up included. */
  resets = 0;

  constructor(config: FunctionDescription, bars: readonly BarDescription[]) {
    this.config = config;
    this.bars = bars;
  }

  attach(bus: DeviceBus): void {
    this.#bus = bus;
  }

  reset(): void {
    this.resets++;
    this.#values.clear();
  }

  read(bar: number, offset: number, _width: Width): number {
    return this.#values.get(`${bar} ${offset}`) ?? 0;
  }

  write(bar: number, offset: number, _width: Width, value: number): void {
    if (offset === TRIGGER) this.#bus.raise(value);
    else this.#values.set(`${bar} ${offset}`, value);
  }
}

/** QEMU's NVMe controller: 65 vectors whose table is in the BAR of the registers; keeps them in D3hot; can be reset. */
export function nvmeLike(): RegisterFile {
  return new RegisterFile(
    {
      vendorId: 0x1b36,
      deviceId: 0x0010,
      revision: 2,
      classCode: 0x010802,
      subsystemVendorId: 0x1af4,
      subsystemId: 0x1100,
      intx: true,
      msix: { vectors: 65, bar: 0, table: 0x2000, pending: 0x3000 },
      express: true,
      functionLevelReset: true,
    },
    [{ index: 0, size: 0x4000, is64Bit: true }],
  );
}

/** QEMU's e1000e: memory and I/O BARs, a BAR for MSI-X alone, a ROM, errors and serial number; D3hot loses registers. */
export function nicLike(): RegisterFile {
  return new RegisterFile(
    {
      vendorId: 0x8086,
      deviceId: 0x10d3,
      classCode: 0x020000,
      subsystemId: 0,
      intx: true,
      msi: 1,
      msix: { vectors: 5, bar: 3, table: 0, pending: 0x2000 },
      express: true,
      power: { noSoftReset: false },
      errorReporting: true,
      serialNumber: 0x525400ffff123456n,
      rom: rom(0x40000),
    },
    [
      { index: 0, size: 0x20000 },
      { index: 1, size: 0x20000 },
      { index: 2, size: 32, kind: 'io' },
      { index: 3, size: 0x4000 },
    ],
  );
}

/** An image as the firmware looks for it (PCI Firmware 3.0, 5.1): 0x55aa, and what is not used erased. */
function rom(size: number): Uint8Array {
  const bytes = new Uint8Array(size).fill(0xff);
  bytes.set([0x55, 0xaa, 0x80]);
  return bytes;
}
