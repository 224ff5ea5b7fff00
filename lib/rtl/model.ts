/**
 * A design in RTL as a DeviceModel: its registers, DMA and interrupts are wires. The driver, the simulated machine
 * and dma-debug are the same as with a model in TypeScript.
 *
 * Time: a microsecond of the bus is `mhz` clocks. A register access takes the clocks of its AXI-Lite handshake at
 * once. They are subtracted from the microseconds that follow. While the design moves, the model asks the bus for one
 * microsecond after the other. When nothing moves any more, it sleeps until the next register access.
 */
import { DmaError } from '../errors.ts';
import type { BarDescription, DeviceBus, DeviceModel, FunctionDescription, Width } from '../sim/model.ts';
import {
  type Design,
  OUTCOME,
  RESPONSE,
  type Simulator,
  type TrafficOptions,
  type WaveWindow,
} from './simulator.ts';

export interface RtlOptions extends TrafficOptions {
  /** The number of clocks in a microsecond. Default 100. */
  readonly mhz?: number;
  /** The function around the design. */
  readonly config: FunctionDescription;
  /** The size of BAR 0 in bytes, for the design's registers. Default: as many as its address bits reach. */
  readonly registers?: number;
  /** Inputs of the design with a fixed value (straps), by name. */
  readonly pins?: Readonly<Record<string, number>>;
  /** Clocks that a register access may take. Default 100,000. */
  readonly accessLimit?: number;
  /**
   * Receives the bytes that the design sends on its AXI4-Stream masters. `loopback` passes them to the slave of the
   * same number.
   */
  readonly stream?: 'loopback' | ((stream: number, bytes: Uint8Array, last: boolean) => void);
}

/** Which clocks are recorded, and into which file. */
export interface WaveOptions extends Partial<WaveWindow> {
  /** The file to write: VCD, or FST if the design was built for it. */
  readonly file: string;
}

const ALL_ONES = 0xffff_ffff;

/** A device whose inside is a simulator of a design. */
export class RtlModel implements DeviceModel {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];

  /** A range of memory that answers SLVERR, both ends inclusive; normally there is none. */
  broken: { readonly start: bigint; readonly end: bigint } | undefined;

  readonly #design: Design;
  readonly #options: RtlOptions;
  readonly #mhz: number;
  #bus!: DeviceBus;
  #simulator: Simulator | undefined;
  /** Clocks that register accesses took, and that have not been subtracted from a microsecond yet. */
  #ahead = 0;
  #ticking = false;
  /** True while a waveform is open. */
  #recording = false;
  #loopback: { stream: number; bytes: Uint8Array; last: boolean }[] = [];
  #failure: DmaError | undefined;

  /** @throws DmaError as `Design.open` · EINVAL options */
  constructor(design: Design, options: RtlOptions) {
    this.#design = design;
    this.#options = options;
    this.#mhz = checkMhz(options.mhz ?? 100);
    const { description } = this.#start();
    // An AXI master reads whole beats: reading beside a mapping in the same beat is no mistake.
    const readGranule = Math.max(1, ...description.memories.map(({ dataBytes }) => dataBytes));
    this.config = { readGranule, ...options.config };
    const { addressBits } = description.registers;
    this.bars = [{ index: 0, size: options.registers ?? Math.max(16, 2 ** addressBits) }];
  }

  /** The running simulation. @throws DmaError EIO it ended */
  get simulator(): Simulator {
    if (this.#failure !== undefined) throw this.#failure;
    return this.#simulator ?? this.#start();
  }

  attach(bus: DeviceBus): void {
    this.#bus = bus;
  }

  reset(): void {
    this.#failure = undefined;
    this.#ahead = 0;
    this.#ticking = false;
    this.#loopback = [];
    this.#guard(() => this.simulator.reset());
    this.#wake();
  }

  /** The driver reads a register: a read of the design's AXI4-Lite slave. */
  read(_bar: number, offset: number, width: Width): number {
    return this.#access(
      () => {
        const { simulator } = this;
        return simulator.read(offset, width) === OUTCOME.okay ? simulator.low : undefined;
      },
      `a read of ${width} bytes at 0x${offset.toString(16)}`,
      ALL_ONES,
    );
  }

  /** The driver writes a register: a write of the design's AXI4-Lite slave. */
  write(_bar: number, offset: number, width: Width, value: number): void {
    this.#access(
      () => (this.simulator.write(offset, width, value, 0) === OUTCOME.okay ? 0 : undefined),
      `a write of ${width} bytes at 0x${offset.toString(16)}`,
      0,
    );
  }

  /** Record waveforms from now on, or only in a window of clocks. @throws DmaError EIO the file cannot be written */
  waves({ file, from = 0, to = Number.MAX_SAFE_INTEGER }: WaveOptions): void {
    this.simulator.set('half', Math.round(500_000 / this.#mhz));
    this.#recording = this.simulator.waves(file, { from, to });
    if (this.#recording) return;
    throw new DmaError('EIO', `no waveform can be written to ${file}`, {
      remedy: 'check the folder and its rights',
    });
  }

  /** End the waveform. */
  endWaves(): void {
    if (this.#recording) this.simulator.waves('', { from: 0, to: 0 });
    this.#recording = false;
  }

  /** End the simulation, and its waveform. After the function is opened again, the design is as after power-up. */
  close(): void {
    const simulator = this.#simulator;
    this.#simulator = undefined;
    if (simulator === undefined) return;
    try {
      if (this.#recording && this.#failure === undefined) simulator.waves('', { from: 0, to: 0 });
    } finally {
      this.#recording = false;
      simulator.close();
    }
  }

  #start(): Simulator {
    const simulator = this.#design.open({
      dmaRead: (address, into) => this.#memory(address, into.length, () => this.#bus.dmaRead(address, into)),
      dmaWrite: (address, from) =>
        this.#memory(address, from.length, () => this.#bus.dmaWrite(address, from)),
      interrupt: (wire, level) => this.#interrupt(wire, level),
      report: (text) => this.#bus.report(0, 0, 'write', text),
      streamed: (stream, bytes, last) => this.#streamed(stream, bytes, last),
    });
    const { seed = 1, pressure = 0, latency = 0, reorder = false, accessLimit = 100_000 } = this.#options;
    const settings = { seed, pressure, latency, reorder: reorder ? 1 : 0, limit: accessLimit };
    for (const [name, value] of Object.entries(settings)) simulator.set(name, value);
    for (const [name, value] of Object.entries(this.#options.pins ?? {})) {
      if (simulator.set(`pin.${name}`, value)) continue;
      simulator.close();
      throw new DmaError('EINVAL', `${this.#design.name} has no input ${name}`, {
        remedy: 'check the names of `pins`',
      });
    }
    this.#simulator = simulator;
    return simulator;
  }

  #memory(address: bigint, length: number, access: () => boolean): number {
    const { broken } = this;
    if (broken !== undefined && address <= broken.end && address + BigInt(length) > broken.start) {
      return RESPONSE.slaveError;
    }
    return access() ? RESPONSE.okay : RESPONSE.decodeError;
  }

  #interrupt(wire: number, level: boolean): void {
    const bus = this.#bus;
    if (wire === 0) {
      // This is the line of INTx. Messages have wires of their own.
      if (bus.messages) return;
      if (level) bus.raise();
      else bus.lower();
    } else if (level && bus.messages) bus.raise(wire - 1);
  }

  #streamed(stream: number, bytes: Uint8Array, last: boolean): void {
    const { stream: to } = this.#options;
    if (typeof to === 'function') to(stream, bytes, last);
    // The simulator is inside a call. The bytes are pushed when the call is over.
    else if (to === 'loopback') this.#loopback.push({ stream, bytes, last });
  }

  /**
   * One register access, and the time that it takes. `what` is the text of the report if the design does not answer.
   */
  #access<Result>(access: () => Result | undefined, what: string, otherwise: Result): Result {
    const before = this.#simulator?.clock ?? 0;
    const result = this.#guard(access);
    if (result === undefined) this.#bus.report(0, 0, 'read', `${what} ended with an error or not at all`);
    this.#ahead += (this.#simulator?.clock ?? before) - before;
    this.#wake();
    return result ?? otherwise;
  }

  #wake(): void {
    if (this.#ticking || this.#failure !== undefined) return;
    if (!this.simulator.moving && this.#loopback.length === 0) return;
    this.#ticking = true;
    this.#bus.after(1, () => this.#tick());
  }

  #tick(): void {
    this.#ticking = false;
    this.#guard(() => {
      const clocks = this.#mhz - this.#ahead;
      this.#ahead = Math.max(0, -clocks);
      for (const { stream, bytes, last } of this.#loopback.splice(0))
        this.simulator.push(stream, bytes, last);
      if (clocks > 0) this.simulator.run(clocks);
    });
    this.#wake();
  }

  /** A simulator that fails is like a device that disappeared from the bus. */
  #guard<Result>(step: () => Result): Result {
    try {
      return step();
    } catch (error) {
      if (error instanceof DmaError) {
        this.#failure = error;
        this.close();
      }
      throw error;
    }
  }
}

function checkMhz(mhz: number): number {
  if (Number.isInteger(mhz) && mhz > 0 && mhz <= 10_000) return mhz;
  throw new DmaError('EINVAL', `mhz is ${String(mhz)}`, { remedy: 'pass a whole number from 1 to 10,000' });
}
