/**
 * The slot of a simulated device. The device exists as long as the simulation. A driver's connection to it (a
 * BusPort) begins with open and ends with close.
 */
import { argumentError, checkFunction, describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { faultAddress, wholeAddress } from '../iommu/bus-address.ts';
import type { Requester } from '../iommu/device-access.ts';
import { FAULT, type FaultLog } from '../iommu/fault.ts';
import type { SimulatedAddressSpace } from '../iommu/simulated.ts';
import type { BarInfo } from '../pci/bar.ts';
import { SimulatedClock } from './clock.ts';
import type { SimulatedConfigSpace } from './config-space.ts';
import { describeBars } from './description.ts';
import type { SimulatedInterrupts } from './interrupts.ts';
import type { DeviceBus, DeviceModel } from './model.ts';
import { modelName } from './model-name.ts';

/** The connection between the device and a driver that has opened it. */
export interface BusPort {
  readonly config: SimulatedConfigSpace;
  readonly interrupts: SimulatedInterrupts;
  readonly addressSpace: SimulatedAddressSpace;
  /** The identity of the device when it accesses memory. */
  readonly requester: Requester;
  /** The device was pulled out. */
  leave(): void;
  /** The system saw an error of the function. */
  reportError(): void;
  requestRelease(): void;
  /** A hot reset of another function hit this one. */
  wasReset(functions: readonly string[]): void;
}

/** A lagging device. It is told before an event that its late writes must not come after (lag/device.ts). */
export interface LaggingDevice extends DeviceModel {
  beforeConfigRead(): void;
  beforeConfigWrite(): void;
  /** The driver is about to stop the device. The device first does all its outstanding work. */
  settle(): void;
}

/** A message interrupt is a memory write to this address (Intel SDM volume 3, 11.11). */
const MESSAGE_ADDRESS = 0xfee00000n;

const TIME_REMEDY =
  'pass simulated microseconds, more than 0: what takes no time is done in the register access itself';

/** The additional methods of the slot for the parts of a simulated machine. Models do not need them. */
export interface SlotBus extends DeviceBus {
  /** True if a message of this vector would reach the driver. */
  delivers(vector: number): boolean;
}

/** The slot of a simulated function: the machine as its model sees it. */
export class SimulatedBus implements SlotBus {
  readonly clock = new SimulatedClock();
  readonly faults: FaultLog;
  readonly model: DeviceModel;
  /** The model, if it lags. */
  readonly lagging: LaggingDevice | undefined;
  readonly bars: readonly BarInfo[];
  /** The open function that can reach the device, if any. */
  #port: BusPort | undefined;
  /** The open function. It differs from `#port` once the device was released and the function is not yet closed. */
  #holder: BusPort | undefined;
  /** Callers of `requestRelease` that wait until the driver has released the device. */
  #released: (() => void)[] = [];
  #line = false;
  #plugged = true;

  /** @throws DmaError EINVAL the model describes a function that cannot exist */
  constructor(model: DeviceModel, faults: FaultLog, lagging?: LaggingDevice) {
    this.bars = describeBars(model);
    this.model = model;
    this.lagging = lagging;
    this.faults = faults;
    faults.about = () => model.activity?.();
    model.attach(this);
    model.reset();
  }

  /** @throws DmaError EBUSY when a driver has the function open · ENODEV the slot is empty */
  connect(port: BusPort): void {
    if (!this.#plugged) {
      throw new DmaError('ENODEV', 'there is no device in the slot', { remedy: 'plug it in again' });
    }
    if (this.#holder !== undefined) {
      throw new DmaError('EBUSY', 'the simulated function is open', {
        remedy: 'close it before opening it again',
      });
    }
    this.#port = port;
    this.#holder = port;
    this.#updateLine(this.#line);
    this.clock.start();
  }

  /** The driver releases the device. Time stands still for the device, and it reaches no memory. */
  release(): void {
    this.#port = undefined;
    this.clock.stop();
    try {
      this.model.close?.();
    } finally {
      for (const done of this.#released.splice(0)) done();
    }
  }

  /** The function is closed. */
  disconnect(): void {
    this.#holder = undefined;
  }

  /** Ask the driver for the device, as before its removal. Resolves when no driver has it. */
  requestRelease(): Promise<void> {
    const port = this.#port;
    if (port === undefined) return Promise.resolve();
    setImmediate(() => port.requestRelease());
    return new Promise((resolve) => this.#released.push(resolve));
  }

  /** Tell the driver of an error that the system could not correct. */
  reportError(): void {
    const port = this.#port;
    if (port !== undefined) setImmediate(() => port.reportError());
  }

  /** Tell the driver that a hot reset of another function has reset this one. */
  tellReset(functions: readonly string[]): void {
    this.#port?.wasReset(functions);
  }

  /** True if the device is in its slot. */
  get plugged(): boolean {
    return this.#plugged;
  }

  /** Pull the device out. From here on every access of the driver fails, and the device reaches nothing. */
  unplug(): void {
    if (!this.#plugged) return;
    this.#plugged = false;
    this.#line = false;
    this.clock.clear();
    this.#port?.leave();
  }

  /** Put the device back. It is as after power-up. @throws DmaError EBUSY a driver still has the function open */
  plugIn(): void {
    if (this.#plugged) return;
    this.checkReleased();
    this.#plugged = true;
    this.model.reset();
  }

  /** @throws DmaError EBUSY the device was pulled out, and a driver still has the function open */
  checkReleased(): void {
    if (this.#plugged || this.#holder === undefined) return;
    throw new DmaError('EBUSY', 'a driver has the function open that was pulled out', {
      remedy: 'close it before plugging the device in again',
    });
  }

  /** Function-level reset: the device abandons all work that it had begun. */
  reset(): void {
    this.clock.clear();
    this.lower();
    this.model.reset();
    this.#port?.config.wake();
  }

  dmaRead(address: bigint | number, into: Uint8Array, high?: number): boolean {
    const port = this.#port;
    if (this.#plugged && port?.config.busMaster) {
      return port.addressSpace.read(address, into, port.requester, high);
    }
    into.fill(0);
    if (this.#plugged) this.#refuse(wholeAddress(address, high), into.length, 'read', undefined);
    return false;
  }

  dmaWrite(address: bigint | number, from: Uint8Array, high?: number): boolean {
    const port = this.#port;
    if (this.#plugged && port?.config.busMaster) {
      return port.addressSpace.write(address, from, port.requester, high);
    }
    if (this.#plugged) this.#refuse(wholeAddress(address, high), from.length, 'write', from);
    return false;
  }

  /** True if a driver can reach the device, and the device can reach memory. */
  get connected(): boolean {
    return this.#plugged && this.#port !== undefined;
  }

  /** True if a write would now find memory at every byte. */
  mayWrite(address: bigint | number, size: number, high: number | undefined): boolean {
    const port = this.#port;
    if (!this.#plugged || !port?.config.busMaster) return false;
    return port.addressSpace.answers(wholeAddress(address, high), size, 'write');
  }

  /**
   * A write that has left the device. Turning off bus mastering does not stop it any more.
   * @returns the function to call when the write arrives
   * @param about the activity of the device when it wrote
   */
  writeLater(
    address: bigint | number,
    from: Uint8Array,
    high: number | undefined,
    about: string | undefined,
  ): () => void {
    const port = this.#port;
    return () => {
      if (port === undefined || port !== this.#port || !this.#plugged) return;
      const { faults } = this;
      const { about: now } = faults;
      faults.about = () => about;
      try {
        port.addressSpace.write(address, from, port.requester, high);
      } finally {
        faults.about = now;
      }
    };
  }

  /**
   * As `writeLater`, for a message interrupt; undefined if the function may not send one. @throws DmaError EINVAL
   * vector
   */
  messageLater(vector: number): (() => void) | undefined {
    this.#checkVector(vector);
    const port = this.#port;
    if (!this.#plugged || !port?.interrupts.messages || !port.config.busMaster) return undefined;
    return () => {
      if (port === this.#port && this.#plugged) port.interrupts.message(vector);
    };
  }

  /** True if the driver allows the function to relax the order of its writes. */
  get relaxedOrdering(): boolean {
    return this.#port?.config.relaxedOrdering ?? false;
  }

  delivers(vector: number): boolean {
    const port = this.#port;
    return this.#plugged && port?.config.busMaster === true && port.interrupts.isArmed(vector);
  }

  get messages(): boolean {
    return this.#port?.interrupts.messages ?? false;
  }

  get now(): number {
    return this.clock.now;
  }

  raise(vector = 0): void {
    this.#checkVector(vector);
    if (!this.#plugged) return;
    if (!this.#port?.interrupts.messages) this.#updateLine(true);
    else if (this.#port.config.busMaster) this.#port.interrupts.message(vector);
    else this.#refuse(MESSAGE_ADDRESS, 4, 'write', undefined);
  }

  lower(): void {
    this.#updateLine(false);
  }

  after(microseconds: number, action: () => void): void {
    if (!(Number.isFinite(microseconds) && microseconds > 0)) {
      throw argumentError(
        `the time that ${modelName(this.model)} gave to after()`,
        microseconds,
        TIME_REMEDY,
      );
    }
    checkFunction(action, `the action that ${modelName(this.model)} gave to after()`);
    if (this.#plugged) this.clock.after(microseconds, action);
  }

  report(address: bigint | number, size: number, access: 'read' | 'write', reason: string): void {
    this.faults.record({ address: faultAddress(address), size, access, reason });
  }

  /** The driver has not allowed the function to start accesses on the bus. The access is recorded as a fault. */
  #refuse(
    address: bigint | number,
    size: number,
    access: 'read' | 'write',
    bytes: Uint8Array | undefined,
  ): void {
    const reason = (this.#port?.config.awake ?? true) ? FAULT.noMaster : FAULT.asleep;
    const fault = { address: faultAddress(address), size, access, reason };
    const { about } = this.faults;
    const { readGranule = 1 } = this.model.config;
    this.#port?.requester.onAccess?.({ address, size, access, bytes, fault, about, readGranule });
    this.faults.record(fault);
  }

  /** The INTx line goes up or down. */
  moveLine(level: boolean): void {
    if (this.#plugged) this.#updateLine(level);
  }

  #updateLine(level: boolean): void {
    this.#line = level && (this.model.config.intx ?? false);
    this.#port?.config.setInterruptStatus(this.#line);
    this.#port?.interrupts.updateLine(this.#line);
  }

  #checkVector(vector: number): void {
    const { msi = 0, msix } = this.model.config;
    const vectors = Math.max(1, msi, msix?.vectors ?? 0);
    if (Number.isInteger(vector) && vector >= 0 && vector < vectors) return;
    throw new DmaError('EINVAL', `${modelName(this.model)} raised interrupt ${describe(vector)}`, {
      remedy: `its config describes vectors 0 to ${vectors - 1}`,
    });
  }
}
