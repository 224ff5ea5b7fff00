/**
 * A device that lags. It works with any model: it stands between the driver and the model, and between the model and
 * the bus.
 *
 *      driver                                                                      model
 *        |  register write   -->  under way  ---------------------------------->    |
 *        |  register read    -->  all writes before it arrive, then it is read -->  |
 *        |  <-----------------------------------  under way  <--  DMA write, MSI    |
 *        |  <--  all DMA writes before it arrive, then memory is read  <-- DMA read |
 *
 * Two accesses may change their order here if, and only if, PCI Express lets them (PCI Express 5.0, 2.4.1, table
 * 2-39). A posted write does not pass another one unless it is relaxed. A read does not pass a posted write, and
 * neither does its answer. An INTx line of a conventional function is a wire, and has no order with anything.
 */
import type { LaggingDevice, SimulatedBus, SlotBus } from '../bus.ts';
import type { BarDescription, DeviceBus, DeviceModel, FunctionDescription, Width } from '../model.ts';
import type { FrontModel } from '../model-name.ts';
import type { Lag } from './options.ts';
import { PostedWrites } from './posted.ts';

/** The most actions that run when the device gets unlimited time, because a model may always schedule another one. */
const MOST_STEPS = 1000;

/** A model behind a link on which register writes and DMA writes take time. */
export class LaggingModel implements FrontModel, LaggingDevice {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];
  readonly read64?: (bar: number, offset: number) => bigint;
  readonly write64?: (bar: number, offset: number, value: bigint) => void;
  readonly behind: DeviceModel;
  readonly #lag: Lag;
  readonly #ports: ReadonlySet<number>;
  #bus!: SimulatedBus;
  /** Register writes that are on their way to the device, and DMA writes and interrupts that come from it. */
  #down!: PostedWrites;
  #up!: PostedWrites;
  #settling = false;

  constructor(model: DeviceModel, lag: Lag) {
    this.behind = model;
    this.#lag = lag;
    this.config = model.config;
    this.bars = model.bars;
    this.#ports = new Set(model.bars.filter(({ kind }) => kind === 'io').map(({ index }) => index));
    // A model without 64-bit accesses gets two of 32 bits. This object must then lack them, too.
    if (model.read64 !== undefined) {
      this.read64 = (bar, offset) => this.#read(() => model.read64!(bar, offset));
    }
    if (model.write64 !== undefined) {
      this.write64 = (bar, offset, value) => this.#write(bar, () => model.write64!(bar, offset, value));
    }
  }

  /** @param bus the slot; it offers a lagging device more than it offers a model */
  attach(bus: DeviceBus): void {
    this.#bus = bus as SimulatedBus;
    this.#down = new PostedWrites(this.#bus.clock, this.#lag);
    this.#up = new PostedWrites(this.#bus.clock, this.#lag);
    this.behind.attach(new LaggingDeviceBus(this.#bus, this.#up, this.behind));
  }

  reset(): void {
    this.#down.clear();
    this.#up.clear();
    this.behind.reset();
  }

  activity(): string | undefined {
    return this.behind.activity?.();
  }

  close(): void {
    this.behind.close?.();
  }

  read(bar: number, offset: number, width: Width): number {
    return this.#read(() => this.behind.read(bar, offset, width));
  }

  write(bar: number, offset: number, width: Width, value: number): void {
    this.#write(bar, () => this.behind.write(bar, offset, width, value));
  }

  /** A configuration write of the driver is on its way. It does not pass a register write (entry C2a). */
  beforeConfigWrite(): void {
    this.#down.flush();
  }

  /** A configuration read does not pass a register write (B2a), and its answer does not pass a DMA write (D2a). */
  beforeConfigRead(): void {
    this.#down.flush();
    this.#up.flush();
  }

  /**
   * The driver took memory away from the device, and continues now or later.
   * @param free true if the memory was freed, so that it may be used for anything next
   */
  pause(free: boolean): void {
    const pause = free ? 'long' : this.#lag.pause();
    if (pause === 'long') this.settle();
    else if (pause === 'short') this.#bus.clock.advance(this.#lag.time());
  }

  /**
   * Everything under way arrives, and the device does all its outstanding work. This happens before the driver stops
   * the device, because a driver cannot know how much time passes between two of its calls.
   */
  settle(): void {
    if (this.#settling || !this.#bus.connected) return;
    this.#settling = true;
    try {
      this.#down.flush();
      for (let steps = 0; steps < MOST_STEPS && this.#bus.clock.step(); steps++);
      this.#up.flush();
    } finally {
      this.#settling = false;
    }
  }

  #read<T>(access: () => T): T {
    this.#down.flush();
    const answer = access();
    this.#up.flush();
    return answer;
  }

  #write(bar: number, access: () => void): void {
    if (this.#ports.has(bar)) {
      // A write of an I/O port is not posted: the driver waits for it.
      this.#down.flush();
      access();
    } else this.#down.post(access);
  }
}

/** Stands between the model and the bus. */
class LaggingDeviceBus implements SlotBus {
  readonly #bus: SimulatedBus;
  readonly #up: PostedWrites;
  readonly #model: DeviceModel;

  constructor(bus: SimulatedBus, up: PostedWrites, model: DeviceModel) {
    this.#bus = bus;
    this.#up = up;
    this.#model = model;
  }

  /** A read does not pass a posted write (B2a). */
  dmaRead(address: bigint | number, into: Uint8Array, high?: number): boolean {
    this.#up.flush();
    return this.#bus.dmaRead(address, into, high);
  }

  dmaWrite(address: bigint | number, from: Uint8Array, high?: number, relaxed = false): boolean {
    if (!this.#bus.mayWrite(address, from.length, high)) {
      // The device gets the result at once, if its kind of bus tells the result.
      this.#up.flush();
      return this.#bus.dmaWrite(address, from, high);
    }
    const about = this.#model.activity?.();
    const arrive = this.#bus.writeLater(address, from.slice(), high, about);
    this.#up.post(arrive, relaxed && this.#bus.relaxedOrdering);
    return true;
  }

  delivers(vector: number): boolean {
    return this.#bus.delivers(vector);
  }

  get messages(): boolean {
    return this.#bus.messages;
  }

  get now(): number {
    return this.#bus.now;
  }

  raise(vector = 0): void {
    const arrive = this.#bus.messageLater(vector);
    if (arrive !== undefined) this.#up.post(arrive);
    else if (this.#bus.messages || !this.#model.config.express) this.#bus.raise(vector);
    else this.#up.post(() => this.#bus.moveLine(true));
  }

  /** The INTx line of an Express function goes up and down by messages, which do not pass a write. */
  lower(): void {
    if (this.#model.config.express) this.#up.post(() => this.#bus.moveLine(false));
    else this.#bus.lower();
  }

  after(microseconds: number, action: () => void): void {
    this.#bus.after(microseconds, action);
  }

  unplug(): void {
    this.#bus.unplug();
  }

  report(address: bigint | number, size: number, access: 'read' | 'write', reason: string): void {
    this.#bus.report(address, size, access, reason);
  }
}
