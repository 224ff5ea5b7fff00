/**
 * A design in RTL as a DeviceModel: its registers, DMA and interrupts are wires. The driver, the simulated machine
 * and dma-debug are the same as with a model in TypeScript.
 *
 * Time: a microsecond of the bus is `mhz` clocks. A register access takes the clocks of its AXI-Lite handshake at
 * once. They are subtracted from the microseconds that follow. While the design moves, the model asks the bus for one
 * microsecond after the other. When nothing moves any more, it sleeps until the next register access.
 */

import { checkWhole } from '../arguments.ts';
import type { DmaObserver } from '../debug/observer.ts';
import { DmaError } from '../errors.ts';
import type { BarDescription, DeviceBus, DeviceModel, FunctionDescription, Width } from '../sim/model.ts';
import { checkNumbers, checkWindow } from './checks.ts';
import { type ByteWrite, WriteHistory } from './history.ts';
import { noteOfAct, noteOfInterrupt, noteOfReport } from './notes.ts';
import { noWaveFile, Rewindable, rewindable } from './rewind.ts';
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
  /** Write bursts of the design that `history` remembers. Default 1,000; 0 for none. */
  readonly history?: number;
  /**
   * Clocks between two copies of the whole state, so that `waves` can show what is over: eight are kept, and what came
   * from outside since. WebAssembly only. Default: no copies.
   */
  readonly rewind?: number;
  /**
   * Receives the bytes that the design sends on its AXI4-Stream masters. `loopback` passes them to the slave of the
   * same number.
   */
  readonly stream?: 'loopback' | ((stream: number, bytes: Uint8Array, last: boolean) => void);
}

/** The clocks of a waveform: from now on, or a window that comes, or with the option `rewind` one that is over. */
export interface WaveOptions extends Partial<WaveWindow> {
  /** The newest so many clocks, instead of `from` and `to`. */
  readonly last?: number;
  /** The file to write: VCD, or FST if the design was built for it. */
  readonly file: string;
}

/** The state of a design, of its interconnect and of its time. Memory is not in it: it is the driver's. */
export interface RtlSnapshot {
  /** In pages, which copies share where they are the same: do not change them. */
  readonly state: readonly Uint8Array[];
  /** Clocks that register accesses took, and that no microsecond has paid for. */
  readonly ahead: number;
  /** The level of INTx. */
  readonly line: boolean;
}

const ALL_ONES = 0xffff_ffff;

/** A device whose inside is a simulator of a design. */
export class RtlModel implements DeviceModel {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];
  readonly observer: DmaObserver;

  /** A range of memory that answers SLVERR, both ends inclusive; normally there is none. */
  broken: { readonly start: bigint; readonly end: bigint } | undefined;

  readonly #design: Design;
  readonly #options: RtlOptions;
  readonly #mhz: number;
  #bus: DeviceBus | undefined;
  #simulator: Simulator | undefined;
  /** Clocks that register accesses took, and that have not been subtracted from a microsecond yet. */
  #ahead = 0;
  #ticking = false;
  /** True while a waveform is open. */
  #recording = false;
  /** Why a waveform ended too early, until the caller is told. */
  #lostWave: DmaError | undefined;
  /** Packets for the stream slaves of the design, which go in when the simulator is not in a call. */
  #packets: { stream: number; bytes: Uint8Array; last: boolean }[] = [];
  readonly #history: WriteHistory;
  /** Calls of the simulator that are under way, and what the waveform is to show of what happens in them. */
  #calls = 0;
  #notes: string[] = [];
  #line = false;
  /** What was thrown in the middle of a call. */
  #thrown: { readonly error: unknown } | undefined;
  /** Why the simulator is over; the device has fallen off the bus then, until it is plugged in again. */
  #failure: DmaError | undefined;

  /** @throws DmaError as `Design.open` · EINVAL options */
  constructor(design: Design, options: RtlOptions) {
    const { mhz = 100, history = 1000, rewind } = options;
    checkNumbers(options);
    this.#design = rewind === undefined ? design : rewindable(design, rewind);
    this.#options = options;
    this.#mhz = mhz;
    this.#history = new WriteHistory(history);
    this.observer = {
      acted: (act) => this.#note(() => noteOfAct(act)),
      reported: (report) => this.#note(() => noteOfReport(report)),
      reached: (memory) => this.#history.reached(memory),
    };
    const { description } = this.#start();
    this.#history.ports = description.memories.map(({ prefix }) => prefix);
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
    this.#packets = [];
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

  /**
   * Record waveforms from now on, or only in a window of clocks. With the option `rewind` a window that has begun is
   * written at once, up to now.
   * @throws DmaError EIO the file cannot be written · ERANGE the window is too long ago · EOPNOTSUPP `last` without
   *   `rewind` · EINVAL a window that cannot be, `last` beside one, no file
   */
  waves(options: WaveOptions): void {
    const { simulator } = this;
    const { clock } = simulator;
    const { file, last, from, to = Number.MAX_SAFE_INTEGER } = options;
    if (last !== undefined && !(simulator instanceof Rewindable)) throw cannotRewind(this.#design.name);
    checkWindow(options);
    const start = last === undefined ? (from ?? 0) : Math.max(clock - last, 0);
    const wanted = last !== undefined || from !== undefined;
    // A window that begins now and has no end yet is recorded like one that comes.
    const over = start < clock || (start === clock && (last !== undefined || to <= clock));
    if (simulator instanceof Rewindable && wanted && over) {
      simulator.replay(file, { from: start, to: Math.min(to, clock) });
      return;
    }
    this.endWaves();
    if (!this.#guard(() => simulator.waves(file, { from: start, to }))) throw noWaveFile(file);
    this.#throwLostWave();
    this.#recording = true;
  }

  /**
   * The writes of the design to the byte at a bus address, newest first: the clock, the beat of the burst with its
   * strobes, the mapping that the byte was in, and the line of the driver that made it. `String()` of one is a line.
   * The newest bursts are remembered (option `history`).
   * @throws DmaError EINVAL no address
   */
  history(address: bigint | number): ByteWrite[] {
    if (typeof address !== 'bigint') checkWhole(address, 'the address', 0, Number.MAX_SAFE_INTEGER);
    return this.#history.of(BigInt(address));
  }

  /** Show a text in the waveform, in the scope `driver`: what a test is at. */
  mark(text: string): void {
    this.#note(() => text);
  }

  /**
   * Give an AXI4-Stream slave of the design bytes; `last` ends the packet. They go in as fast as the design and the
   * interconnect take them.
   * @param stream its number, in the order of `simulator.description.sources`
   * @throws DmaError EINVAL there is none
   */
  send(stream: number, bytes: Uint8Array, last = true): void {
    const { sources } = this.simulator.description;
    if (sources[stream] === undefined) {
      throw new DmaError('EINVAL', `${this.#design.name} has no AXI4-Stream slave ${String(stream)}`, {
        remedy: sources.length === 0 ? 'it has none' : `pass a number from 0 to ${sources.length - 1}`,
      });
    }
    this.#packets.push({ stream, bytes: bytes.slice(), last });
    this.#wake();
  }

  /** A copy of the design, its interconnect and its time. @throws DmaError EOPNOTSUPP it runs in a process */
  snapshot(): RtlSnapshot {
    const { simulator } = this;
    if (simulator.snapshot === undefined) throw cannotRewind(this.#design.name);
    return { state: simulator.snapshot(), ahead: this.#ahead, line: this.#line };
  }

  /**
   * Go back to a copy. Memory, and what the driver did since, are the caller's: a waveform ends, and `history` forgets what
   * came later. @throws DmaError EOPNOTSUPP the design runs in a process · EIO as `endWaves`, before anything else
   */
  restore({ state, ahead, line }: RtlSnapshot): void {
    const { simulator } = this;
    if (simulator.restore === undefined) throw cannotRewind(this.#design.name);
    this.endWaves();
    simulator.restore(state);
    this.#ahead = ahead;
    this.#packets = [];
    this.#history.forgetAfter(simulator.clock);
    if (line !== this.#line) this.#interrupt(0, line);
    this.#wake();
  }

  /** End the waveform. @throws DmaError EIO a part of it could not be written, e.g. because the disk is full */
  endWaves(): void {
    if (this.#recording) {
      this.#recording = false;
      this.#guard(() => this.simulator.waves('', { from: 0, to: 0 }));
    }
    this.#throwLostWave();
  }

  /**
   * End the simulation, and its waveform. After the function is opened again, the design is as after power-up.
   * @throws DmaError EIO as `endWaves`; the simulation has ended then, too
   */
  close(): void {
    this.#end();
    this.#throwLostWave();
  }

  #end(): void {
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
    // Nothing of the last simulator is left over.
    this.#line = false;
    this.#thrown = undefined;
    this.#lostWave = undefined;
    this.#notes = [];
    this.#history.clear();
    const simulator = this.#design.open({
      dmaRead: (address, into) => this.#memory(address, into.length, () => this.#slot.dmaRead(address, into)),
      dmaWrite: (address, from) => this.#write(address, from),
      burst: (burst) => this.#history.burst(burst),
      note: () => this.#notes.shift() ?? '',
      interrupt: (wire, level) => this.#outside(() => this.#interrupt(wire, level), undefined),
      report: (text) => this.#outside(() => this.#slot.report(0, 0, 'write', text), undefined),
      streamed: (stream, bytes, last) => this.#outside(() => this.#streamed(stream, bytes, last), undefined),
      waveLost: (error) => this.#loseWave(error),
    });
    const { seed = 1, pressure = 0, latency = 0, reorder = false } = this.#options;
    const { accessLimit: limit = 100_000, history = 1000 } = this.#options;
    const settings = {
      ...{ seed, pressure, latency, limit },
      reorder: reorder ? 1 : 0,
      history: history > 0 ? 1 : 0,
      half: Math.round(500_000 / this.#mhz),
    };
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
    return this.#outside(access, false) ? RESPONSE.okay : RESPONSE.decodeError;
  }

  #write(address: bigint, from: Uint8Array): number {
    this.#history.begin(address);
    const response = this.#memory(address, from.length, () => this.#slot.dmaWrite(address, from));
    this.#history.wrote(address, from, response, this.#simulator?.clock ?? 0);
    return response;
  }

  /** The driver sees it when the call of the simulator is over. */
  #interrupt(wire: number, level: boolean): void {
    const bus = this.#slot;
    if (wire === 0) {
      this.#line = level;
      // This is the line of INTx. Messages have wires of their own.
      if (bus.messages) return;
      if (level) bus.raise();
      else bus.lower();
    } else if (level && bus.messages) bus.raise(wire - 1);
    else return;
    if (level) this.#note(() => noteOfInterrupt(wire));
  }

  /** Something for the waveform, if there is one or may be one. */
  #note(text: () => string): void {
    const simulator = this.#simulator;
    if (simulator === undefined || !(this.#recording || simulator instanceof Rewindable)) return;
    if (this.#calls > 0) this.#notes.push(text());
    else this.#quietly(() => simulator.mark(text()));
  }

  /** The driver is not disturbed: the error comes out when the waveform is ended. */
  #loseWave(error: DmaError): void {
    this.#recording = false;
    this.#lostWave = error;
  }

  #throwLostWave(): void {
    const error = this.#lostWave;
    this.#lostWave = undefined;
    if (error !== undefined) throw error;
  }

  #streamed(stream: number, bytes: Uint8Array, last: boolean): void {
    const { stream: to } = this.#options;
    if (typeof to === 'function') to(stream, bytes, last);
    // The simulator is inside a call. The bytes are pushed when the call is over.
    else if (to === 'loopback') this.#packets.push({ stream, bytes, last });
  }

  /**
   * One register access, and the time that it takes. `what` is the text of the report if the design does not answer.
   */
  #access<Result>(access: () => Result | undefined, what: string, otherwise: Result): Result {
    const before = this.#simulator?.clock ?? 0;
    const result = this.#guard(access);
    if (result === undefined) this.#slot.report(0, 0, 'read', `${what} ended with an error or not at all`);
    this.#ahead += (this.#simulator?.clock ?? before) - before;
    this.#wake();
    return result ?? otherwise;
  }

  /** The slot. Only a model that was plugged in is asked for anything. */
  get #slot(): DeviceBus {
    return this.#bus!;
  }

  #wake(): void {
    if (this.#ticking || this.#failure !== undefined) return;
    if (!this.simulator.moving && this.#packets.length === 0) return;
    this.#ticking = true;
    this.#slot.after(1, () => this.#tick());
  }

  #tick(): void {
    this.#ticking = false;
    // Nobody called: what fails here, the driver learns by its next access or wait.
    this.#quietly(
      () => {
        const clocks = this.#mhz - this.#ahead;
        this.#ahead = Math.max(0, -clocks);
        for (const { stream, bytes, last } of this.#packets.splice(0)) {
          this.simulator.push(stream, bytes, last);
        }
        if (clocks > 0) this.simulator.run(clocks);
      },
      () => this.#wake(),
    );
  }

  #quietly(step: () => void, after = (): void => {}): void {
    try {
      this.#guard(step);
    } catch (error) {
      if (error !== this.#failure) throw error;
    } finally {
      after();
    }
  }

  /** A simulator that fails is like a device that disappeared from the bus. */
  #guard<Result>(step: () => Result): Result {
    this.#calls++;
    let result: Result;
    try {
      result = step();
      for (const text of this.#notes.splice(0)) this.#simulator?.mark(text);
    } catch (error) {
      if (error instanceof DmaError) {
        this.#failure = error;
        this.#end();
        this.#bus?.unplug();
      }
      throw error;
    } finally {
      this.#calls--;
    }
    const thrown = this.#thrown;
    this.#thrown = undefined;
    if (thrown !== undefined) throw thrown.error;
    return result;
  }

  /**
   * Code of the machine or of a test in the middle of a call of the simulator, e.g. `onFault`: what it throws waits until
   * the call is over. A simulator that is not answered could not go on.
   */
  #outside<Result>(action: () => Result, otherwise: Result): Result {
    try {
      return action();
    } catch (error) {
      this.#thrown ??= { error };
      return otherwise;
    }
  }
}

function cannotRewind(name: string): DmaError {
  return new DmaError('EOPNOTSUPP', `${name} cannot go back in time`, {
    remedy: 'build it as WebAssembly; for waveforms of what is over, pass the option rewind',
  });
}
