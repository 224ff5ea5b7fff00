/** A device whose registers, DMA and interrupts fail when a FaultInjector says so. It works with any model. */
import { wholeAddress } from '../../iommu/bus-address.ts';
import type { SlotBus } from '../bus.ts';
import type { BarDescription, DeviceBus, DeviceModel, FunctionDescription, Width } from '../model.ts';
import type { FrontModel } from '../model-name.ts';
import type { FaultInjector } from './inject.ts';

const ALL_ONES = 0xffff_ffff;
const ALL_ONES_64 = 2n ** 64n - 1n;
/** The default delay, in microseconds: a second. */
const DELAY = 1_000_000;
/** How long an interrupt waits for others to come, in microseconds. */
const COALESCING_TIME = 100;
const INJECTED = 'injected fault';

/** Stands between the driver and the model. */
export class InjectedModel implements FrontModel {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];
  readonly read64?: (bar: number, offset: number) => bigint;
  readonly write64?: (bar: number, offset: number, value: bigint) => void;
  readonly behind: DeviceModel;
  readonly #injector: FaultInjector;
  #bus!: InjectedDeviceBus;

  constructor(model: DeviceModel, injector: FaultInjector) {
    this.behind = model;
    this.#injector = injector;
    this.config = model.config;
    this.bars = model.bars;
    // A model without 64-bit accesses gets two of 32 bits. This object must then lack them, too.
    if (model.read64 !== undefined) {
      this.read64 = (bar, offset) => this.#read(() => model.read64!(bar, offset), ALL_ONES_64);
    }
    if (model.write64 !== undefined) {
      this.write64 = (bar, offset, value) => this.#write(() => model.write64!(bar, offset, value));
    }
  }

  attach(bus: DeviceBus): void {
    this.#bus = new InjectedDeviceBus(bus as SlotBus, this.#injector);
    this.behind.attach(this.#bus);
  }

  reset(): void {
    this.#bus.reset();
    this.behind.reset();
  }

  activity(): string | undefined {
    return this.behind.activity?.();
  }

  close(): void {
    this.behind.close?.();
  }

  read(bar: number, offset: number, width: Width): number {
    return this.#read(() => this.behind.read(bar, offset, width), ALL_ONES);
  }

  write(bar: number, offset: number, width: Width, value: number): void {
    this.#write(() => this.behind.write(bar, offset, width, value));
  }

  /** The device is read in any case: only the answer gets lost. */
  #read<T>(access: () => T, lost: T): T {
    this.#injector.touch();
    const value = this.#bus.inside(access, lost);
    return this.#injector.strike('read-all-ones') === undefined ? value : lost;
  }

  #write(access: () => void): void {
    this.#injector.touch();
    this.#bus.inside(access, undefined);
    const spurious = this.#injector.strike('interrupt-spurious');
    if (spurious !== undefined) this.#bus.raiseSpurious(spurious.vector ?? 0);
  }
}

/**
 * Thrown through the code of a model whose device is pulled out in the middle of it. A device that is gone does
 * nothing more. If the model got zeros instead, it would go through its whole ring of descriptors.
 */
class DeviceLeft extends Error {}

/** Stands between the model and the bus. */
class InjectedDeviceBus implements DeviceBus {
  readonly #bus: SlotBus;
  readonly #injector: FaultInjector;
  /** Vectors with an interrupt that is being held back. */
  readonly #late = new Set<number>();
  /** True if the device wants the INTx line up. */
  #line = false;
  /** The number of nested calls of model code. */
  #depth = 0;

  constructor(bus: SlotBus, injector: FaultInjector) {
    this.#bus = bus;
    this.#injector = injector;
  }

  /** Runs code of the model. @param left the result if the device is pulled out meanwhile */
  inside<T>(code: () => T, left: T): T {
    this.#depth++;
    try {
      return code();
    } catch (error) {
      if (!(error instanceof DeviceLeft)) throw error;
      return left;
    } finally {
      this.#depth--;
    }
  }

  /** Drops everything that was under way. */
  reset(): void {
    this.#late.clear();
    this.#line = false;
  }

  dmaRead(address: bigint | number, into: Uint8Array, high?: number): boolean {
    const faults = this.#faults(wholeAddress(address, high), into.length, 'read');
    if (!faults) return this.#bus.dmaRead(address, into, high);
    into.fill(0);
    return false;
  }

  dmaWrite(address: bigint | number, from: Uint8Array, high?: number, relaxed?: boolean): boolean {
    const faults = this.#faults(wholeAddress(address, high), from.length, 'write');
    return !faults && this.#bus.dmaWrite(address, from, high, relaxed);
  }

  get now(): number {
    return this.#bus.now;
  }

  get messages(): boolean {
    return this.#bus.messages;
  }

  raise(vector = 0): void {
    const injector = this.#injector;
    this.#touch();
    this.#line = true;
    if (injector.strike('interrupt-lost') !== undefined) return;
    const held = injector.strike('interrupt-coalesced');
    if (held !== undefined) {
      this.#hold(vector, held.microseconds ?? COALESCING_TIME);
      return;
    }
    // An interrupt of this vector is already being held back. It will come, and stand for this one, too.
    if (this.#late.has(vector)) return;
    this.#bus.raise(vector);
    if (injector.strike('interrupt-duplicated') !== undefined) this.#bus.raise(vector);
  }

  lower(): void {
    this.#line = false;
    this.#bus.lower();
  }

  after(microseconds: number, action: () => void): void {
    this.#touch();
    const delay = this.#injector.strike('completion-delayed');
    this.#later(microseconds + (delay === undefined ? 0 : (delay.microseconds ?? DELAY)), () =>
      this.inside(action, undefined),
    );
  }

  unplug(): void {
    this.#bus.unplug();
  }

  report(address: bigint | number, size: number, access: 'read' | 'write', reason: string): void {
    this.#bus.report(address, size, access, reason);
  }

  /**
   * Sends an interrupt without a cause. It is not sent if it would not reach the driver, because bus mastering is off
   * or the vector is not armed. Otherwise dma-debug would blame the driver for it.
   */
  raiseSpurious(vector: number): void {
    if (!this.#bus.messages || this.#bus.delivers(vector)) this.#pulse(vector);
  }

  #hold(vector: number, microseconds: number): void {
    if (this.#late.has(vector)) return;
    this.#late.add(vector);
    this.#later(microseconds, () => {
      this.#late.delete(vector);
      this.#pulse(vector);
    });
  }

  /** Sends a message. If the function uses INTx and the device does not want the line up, this makes only an edge. */
  #pulse(vector: number): void {
    this.#bus.raise(vector);
    if (!this.#line) this.#bus.lower();
  }

  /** Runs the action later, or never if the time is Infinity. */
  #later(microseconds: number, action: () => void): void {
    if (microseconds !== Number.POSITIVE_INFINITY) this.#bus.after(microseconds, action);
  }

  /** An opportunity for the device to go. If it goes, the running code of the model ends. */
  #touch(): void {
    this.#injector.touch();
    if (this.#depth > 0 && this.#injector.deviceLeft) throw new DeviceLeft();
  }

  #faults(address: bigint | number, size: number, access: 'read' | 'write'): boolean {
    this.#touch();
    if (this.#injector.strike('iommu-fault') === undefined) return false;
    this.#bus.report(address, size, access, INJECTED);
    return true;
  }
}
