/**
 * A simulator in this process: Verilated C++ as a WebAssembly module. It runs on any system without a toolchain. Its
 * whole state is one block of memory, which can be copied and restored.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { DmaError } from '../errors.ts';
import { BEAT_RECORD, readBeats } from './frames.ts';
import { copyPages, PAGE, type Pages, putPages } from './pages.ts';
import type { Design, DesignDescription, Simulator, SimulatorHost, WaveWindow } from './simulator.ts';

/** The exports of native/rtl/wasm_main.h. Addresses are offsets in `memory`. */
interface ModuleExports {
  readonly memory: WebAssembly.Memory;
  _initialize(): void;
  start(): void;
  description(): number;
  state(): number;
  buffer(): number;
  read(low: number, high: number, width: number): number;
  write(low: number, high: number, width: number, valueLow: number, valueHigh: number): number;
  run(clocks: number): number;
  reset(): number;
  set(length: number): number;
  mark(length: number): void;
  note(length: number): void;
  push(stream: number, length: number, last: number): number;
  waves(from: number, to: number): number;
}

const FUNCTIONS = [
  ...['_initialize', 'start', 'description', 'state', 'buffer', 'read', 'write', 'run', 'reset', 'set'],
  ...['mark', 'note', 'push', 'waves'],
];

/** The size of the module's buffer for texts and bytes. */
const BUFFER_SIZE = 65_536;
/** The struct State of native/rtl/wasm.h. */
const STATE = { clock: 0, moving: 8, low: 12, high: 16 } as const;

/** A design in a WebAssembly file that `userdma rtl build --wasm` made. */
export function wasmDesign(file: string | URL): Design {
  let compiled: WebAssembly.Module | undefined;
  return {
    name: String(file),
    open(host) {
      compiled ??= compile(file);
      return new WasmSimulator(String(file), compiled, host);
    },
  };
}

/** Copies of a state in which a waveform was open. */
const recording = new WeakSet<Pages>();

class WasmSimulator implements Simulator {
  readonly description: DesignDescription;
  readonly #name: string;
  readonly #host: SimulatorHost;
  readonly #compiled: WebAssembly.Module;
  #module: ModuleExports;
  /** The newest copy, or the one that was put back: the next one shares pages with it. */
  #copied: Pages = [];
  /** Bytes of memory that the module begins with. */
  readonly #smallest: number;
  readonly #stateAt: number;
  readonly #bufferAt: number;
  #view: DataView;
  #bytes: Uint8Array;
  #waveFile = '';
  /** True if the file took no more in the middle of a call: recording ends after it. */
  #waveLost = false;
  #closed = false;

  constructor(name: string, compiled: WebAssembly.Module, host: SimulatorHost) {
    this.#name = name;
    this.#host = host;
    this.#compiled = compiled;
    this.#module = this.#instance();
    this.#smallest = this.#module.memory.buffer.byteLength;
    this.#bytes = new Uint8Array(this.#module.memory.buffer);
    this.#view = new DataView(this.#module.memory.buffer);
    this.#call((module) => module.start());
    this.#stateAt = this.#module.state();
    this.#bufferAt = this.#module.buffer();
    this.description = JSON.parse(this.#cString(this.#module.description())) as DesignDescription;
  }

  get clock(): number {
    return this.#view.getFloat64(this.#stateAt + STATE.clock, true);
  }

  get moving(): boolean {
    return this.#view.getUint32(this.#stateAt + STATE.moving, true) !== 0;
  }

  get low(): number {
    return this.#view.getUint32(this.#stateAt + STATE.low, true);
  }

  get high(): number {
    return this.#view.getUint32(this.#stateAt + STATE.high, true);
  }

  read(address: number, width: number): number {
    return this.#call((module) => module.read(address >>> 0, Math.floor(address / 2 ** 32), width));
  }

  write(address: number, width: number, low: number, high: number): number {
    return this.#call((module) =>
      module.write(address >>> 0, Math.floor(address / 2 ** 32), width, low, high),
    );
  }

  run(clocks: number): void {
    this.#call((module) => module.run(clocks));
  }

  reset(): void {
    this.#call((module) => module.reset());
  }

  push(stream: number, bytes: Uint8Array, last: boolean): void {
    for (let at = 0; at < bytes.length || at === 0; at += BUFFER_SIZE) {
      const part = bytes.subarray(at, at + BUFFER_SIZE);
      const ends = last && at + BUFFER_SIZE >= bytes.length;
      this.#call((module) => {
        this.#bytes.set(part, this.#bufferAt);
        return module.push(stream, part.length, ends ? 1 : 0);
      });
    }
  }

  set(name: string, value: number): boolean {
    return this.#call((module) => module.set(this.#text(`${name}=${value}`))) === 0;
  }

  waves(file: string, { from, to }: WaveWindow): boolean {
    // The end of an open waveform belongs to its own file, which may be the same one.
    this.#call((module) => module.waves(1, 0));
    this.#waveFile = '';
    if (file === '') return true;
    try {
      writeFileSync(file, '');
    } catch {
      return false;
    }
    this.#waveFile = file;
    return this.#call((module) => module.waves(from, to)) === 0;
  }

  mark(text: string): void {
    this.#call((module) => module.mark(this.#text(text)));
  }

  snapshot(): Pages {
    this.#open();
    const state = copyPages(this.#bytes, this.#copied);
    this.#copied = state;
    if (this.#waveFile !== '') recording.add(state);
    return state;
  }

  restore(state: Pages): void {
    const size = state.length * PAGE;
    if (size < this.#smallest || state.some(({ length }) => length !== PAGE)) {
      throw new DmaError('EINVAL', `a copy of ${size} bytes is none of ${this.#name}`, {
        remedy: 'pass what `snapshot` of the same design returned',
      });
    }
    // A waveform does not go back in time: what is open ends, and so does what was open in the copy.
    if (this.#waveFile !== '') this.waves('', { from: 0, to: 0 });
    this.#open();
    // Memory never shrinks, and what allocates in it asks for its end: a larger one is not the one that was copied.
    if (this.#bytes.length > size) this.#module = this.#instance();
    const { memory } = this.#module;
    const more = size - memory.buffer.byteLength;
    if (more > 0) memory.grow(more / PAGE);
    this.#refresh();
    putPages(state, this.#bytes);
    this.#copied = state;
    if (recording.has(state)) this.#call((module) => module.waves(1, 0));
  }

  close(): void {
    this.#closed = true;
  }

  #instance(): ModuleExports {
    const imports = { userdma: this.#imports(), wasi_snapshot_preview1: WASI };
    const { exports } = instantiate(this.#name, this.#compiled, imports);
    const whole = FUNCTIONS.every((name) => typeof exports[name] === 'function');
    if (!whole || !(exports.memory instanceof WebAssembly.Memory)) throw noModule(this.#name, undefined);
    const module = exports as unknown as ModuleExports;
    module._initialize();
    return module;
  }

  #open(): ModuleExports {
    if (!this.#closed) return this.#module;
    throw new DmaError('ENODEV', `${this.#name} is closed`, { remedy: 'open it again' });
  }

  /** A call may have made the memory grow, which detaches every view of it. */
  #refresh(): void {
    const { buffer } = this.#module.memory;
    if (this.#bytes.buffer === buffer) return;
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
  }

  /** Every call into the design. @throws DmaError EIO the design ended the simulation: it cannot go on */
  #call<Result>(call: (module: ModuleExports) => Result): Result {
    const module = this.#open();
    let result: Result;
    try {
      result = call(module);
    } catch (error) {
      // The module was left in the middle of a clock.
      this.#closed = true;
      throw error instanceof DmaError ? error : trapped(this.#name, error);
    }
    this.#refresh();
    if (!this.#waveLost) return result;
    this.#waveLost = false;
    module.waves(1, 0);
    this.#refresh();
    return result;
  }

  #text(text: string): number {
    const bytes = Buffer.from(text).subarray(0, BUFFER_SIZE);
    this.#bytes.set(bytes, this.#bufferAt);
    return bytes.length;
  }

  #note(): void {
    const text = this.#host.note();
    if (text !== '') this.#module.note(this.#text(text));
  }

  #cString(at: number): string {
    return Buffer.from(this.#bytes.subarray(at, this.#bytes.indexOf(0, at))).toString();
  }

  #inside(at: number, length: number): Uint8Array {
    this.#refresh();
    return this.#bytes.subarray(at, at + length);
  }

  /** Bytes of the waveform. What is thrown here would leave the module in the middle of a clock. */
  #wave(bytes: Uint8Array): void {
    const file = this.#waveFile;
    if (file === '') return;
    try {
      appendFileSync(file, bytes);
    } catch (cause) {
      this.#waveFile = '';
      this.#waveLost = true;
      this.#host.waveLost(
        new DmaError('EIO', `the waveform in ${file} has no end: ${(cause as Error).message}`, {
          remedy: 'make room on the disk, or record a window of clocks',
          cause,
        }),
      );
    }
  }

  #imports(): WebAssembly.ModuleImports {
    const host = (): SimulatorHost => this.#host;
    const address = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    return {
      dma_read: (low: number, high: number, into: number, length: number) => {
        const bytes = new Uint8Array(length);
        const response = host().dmaRead(address(low, high), bytes);
        this.#inside(into, length).set(bytes);
        this.#note();
        return response;
      },
      dma_write: (low: number, high: number, from: number, length: number) => {
        const response = host().dmaWrite(address(low, high), this.#inside(from, length).slice());
        this.#note();
        return response;
      },
      burst: (low: number, high: number, port: number, size: number, beats: number, count: number) =>
        host().burst({
          address: address(low, high),
          port,
          beatBytes: size,
          ...readBeats(this.#inside(beats, count * BEAT_RECORD)),
        }),
      interrupt: (wire: number, level: number) => host().interrupt(wire, level !== 0),
      report: (text: number, length: number) =>
        host().report(Buffer.from(this.#inside(text, length)).toString()),
      streamed: (stream: number, bytes: number, length: number, last: number) =>
        host().streamed(stream, this.#inside(bytes, length).slice(), last !== 0),
      wave: (bytes: number, length: number) => this.#wave(this.#inside(bytes, length)),
    };
  }
}

/** The C++ runtime asks its system for these. A module has no files, no arguments and no environment. */
const EBADF = 8;
const WASI: WebAssembly.ModuleImports = {
  environ_get: () => 0,
  environ_sizes_get: () => 0,
  fd_close: () => EBADF,
  fd_fdstat_get: () => EBADF,
  fd_prestat_get: () => EBADF,
  fd_prestat_dir_name: () => EBADF,
  fd_seek: () => EBADF,
  fd_read: () => EBADF,
  fd_write: () => EBADF,
  path_open: () => EBADF,
  clock_time_get: () => EBADF,
  proc_exit: (code: number) => {
    throw new DmaError('EIO', `the design ended the simulation with status ${code}`, {
      remedy: 'look for $finish, $stop or a failed assertion in it',
    });
  },
};

/** @throws DmaError ENOENT, EIO */
function compile(file: string | URL): WebAssembly.Module {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = new Uint8Array(readFileSync(file));
  } catch (error) {
    throw new DmaError('ENOENT', `${String(file)} cannot be read`, {
      remedy: 'build the design first: userdma rtl build --wasm',
      cause: error,
    });
  }
  try {
    return new WebAssembly.Module(bytes);
  } catch (error) {
    throw noModule(String(file), error);
  }
}

function instantiate(
  name: string,
  compiled: WebAssembly.Module,
  imports: WebAssembly.Imports,
): WebAssembly.Instance {
  try {
    return new WebAssembly.Instance(compiled, imports);
  } catch (error) {
    throw noModule(name, error);
  }
}

/** A trap of the module, or an exception of the host in the middle of a call. */
function trapped(name: string, cause: unknown): DmaError {
  return new DmaError('EIO', `${name} ended the simulation: ${String(cause)}`, {
    remedy: 'look for $stop, $fatal or a failed assertion in the design, or for too little memory',
    cause,
  });
}

function noModule(name: string, cause: unknown): DmaError {
  return new DmaError('EIO', `${name} is no WebAssembly module of a design`, {
    remedy: 'build it with userdma rtl build --wasm',
    cause,
  });
}
