/**
 * `userdma rtl check`: a design by itself, without a driver. Every register of a window is read, and written with what was
 * read, with and without back-pressure; and the design copies every length from and to every offset, if it is told how.
 */
import { DmaError } from '../errors.ts';
import { type Design, OUTCOME, RESPONSE, type Simulator, type SimulatorHost } from './simulator.ts';

/** One register write or wait on the way to a copy. Numbers may be texts: `"0x80"`. */
export type CopyStep =
  | { readonly write: number | string; readonly value: number | string }
  | { readonly until: number | string; readonly mask: number | string; readonly is: number | string };

/**
 * How a design copies: the accesses in their order. A value is a number, or one of `source`, `destination` (bus addresses;
 * with `.high` bits 32 to 63) and `length`.
 */
export interface CopyRecipe {
  readonly steps: readonly CopyStep[];
  /** The longest copy in bytes. Default 4,097. */
  readonly longest?: number;
}

/** What a check of a design does. */
export interface CheckOptions {
  /** Bytes of the register window. Default: what its address bits reach, up to 4,096. */
  readonly registers?: number;
  /** Offsets that are only read. */
  readonly readOnly?: readonly number[];
  readonly pins?: Readonly<Record<string, number>>;
  readonly copy?: CopyRecipe;
  /** Of the random back-pressure. Default 1. */
  readonly seed?: number;
}

/** What a check of a design found. */
export interface CheckResult {
  /** Accesses of the register window; those of copies are not counted. */
  readonly reads: number;
  readonly writes: number;
  /** Clocks of the fastest and of the slowest access without back-pressure; undefined if none was answered. */
  readonly fastest: number | undefined;
  readonly slowest: number | undefined;
  readonly copies: number;
  /** The most bytes a clock that a copy reached, there and back; undefined without copies. */
  readonly bytesPerClock: number | undefined;
  /** What is wrong, in words. */
  readonly problems: readonly string[];
}

const LENGTHS = [1, 2, 3, 4, 7, 8, 9, 15, 16, 63, 64, 255, 1000, 2049, 4096, 4097];
const SOURCES = [0, 1, 5, 7, 4090, 4095];
const DESTINATIONS = [0, 3, 8, 4093];

const PRESSURE = { pressure: 40, latency: 20 };
const CALM = { pressure: 0, latency: 0 };

/** Where the memory of the copies is: below 28 bits, for designs that have no more. */
const MEMORY = 0x100_0000;
const MEMORY_SIZE = 32_768;
const DESTINATION_AT = 16_384;
/** Problems after which nothing more is copied. A copy that does not end is the last one, too. */
const ENOUGH = 20;
/** Clocks that a copy may take. */
const PATIENCE = 200_000;

/** @throws DmaError as `Design.open` · EINVAL the recipe, a pin, the window, an offset of `readOnly` */
export function checkDesign(design: Design, options: CheckOptions = {}): CheckResult {
  if (options.copy !== undefined) checkRecipe(options.copy);
  const check = new Check(design, options);
  try {
    check.registers();
    if (options.copy !== undefined) check.copies(options.copy);
    return check.result;
  } finally {
    check.close();
  }
}

class Check {
  readonly #options: CheckOptions;
  readonly #simulator: Simulator;
  readonly #memory = new Uint8Array(MEMORY_SIZE);
  readonly #problems = new Set<string>();
  #reads = 0;
  #writes = 0;
  #fastest: number | undefined;
  #slowest: number | undefined;
  #copies = 0;
  #best = 0;

  constructor(design: Design, options: CheckOptions) {
    this.#options = options;
    this.#simulator = design.open(this.#host());
    const { pins = {}, seed = 1 } = options;
    this.#simulator.set('seed', seed);
    this.#simulator.set('limit', 10_000);
    for (const [name, value] of Object.entries(pins)) {
      if (this.#simulator.set(`pin.${name}`, value)) continue;
      this.close();
      throw new DmaError('EINVAL', `${design.name} has no input ${name}`, { remedy: 'check the names' });
    }
  }

  registers(): void {
    const { addressBits, dataBytes } = this.#simulator.description.registers;
    const { registers = Math.min(2 ** addressBits, 4096), readOnly = [] } = this.#options;
    if (!Number.isInteger(registers) || registers < dataBytes || registers > 2 ** addressBits) {
      throw new DmaError('EINVAL', `a register window of ${String(registers)} bytes`, {
        remedy: `pass ${dataBytes} to ${2 ** addressBits} bytes`,
      });
    }
    for (const offset of readOnly) {
      if (Number.isInteger(offset / dataBytes) && offset >= 0 && offset + dataBytes <= registers) continue;
      throw new DmaError('EINVAL', `there is no register at offset ${String(offset)}`, {
        remedy: `pass multiples of ${dataBytes} inside of the window of ${registers} bytes`,
      });
    }
    for (const traffic of [CALM, PRESSURE]) {
      this.#traffic(traffic);
      for (let offset = 0; offset + dataBytes <= registers; offset += dataBytes) {
        this.#reads++;
        const { low, high } = this.#access('read', offset, dataBytes, traffic);
        if (readOnly.includes(offset)) continue;
        this.#writes++;
        this.#access('write', offset, dataBytes, traffic, low, high);
      }
    }
  }

  copies({ steps, longest = 4097 }: CopyRecipe): void {
    for (const traffic of [CALM, PRESSURE]) {
      this.#traffic(traffic);
      for (const length of LENGTHS.filter((one) => one <= longest)) {
        for (const source of SOURCES) {
          for (const destination of DESTINATIONS) {
            const ended = this.#copy(steps, length, source, destination, traffic);
            if (!ended || this.#problems.size >= ENOUGH) return;
          }
        }
      }
    }
  }

  get result(): CheckResult {
    return {
      reads: this.#reads,
      writes: this.#writes,
      fastest: this.#fastest,
      slowest: this.#slowest,
      copies: this.#copies,
      bytesPerClock: this.#copies === 0 ? undefined : this.#best,
      problems: [...this.#problems],
    };
  }

  close(): void {
    this.#simulator.close();
  }

  #host(): SimulatorHost {
    const inside = (address: bigint, length: number): Uint8Array | undefined => {
      const at = Number(address) - MEMORY;
      return at < 0 || at + length > MEMORY_SIZE ? undefined : this.#memory.subarray(at, at + length);
    };
    const stray = (what: string, address: bigint): number => {
      this.#problems.add(`it ${what} at 0x${address.toString(16)}, where no memory is`);
      return RESPONSE.decodeError;
    };
    return {
      dmaRead: (address, into) => {
        const bytes = inside(address, into.length);
        if (bytes === undefined) return stray('reads', address);
        into.set(bytes);
        return RESPONSE.okay;
      },
      dmaWrite: (address, from) => {
        const bytes = inside(address, from.length);
        if (bytes === undefined) return stray('writes', address);
        bytes.set(from);
        return RESPONSE.okay;
      },
      // Without the clock in front the same rule is told of once.
      report: (text) => this.#problems.add(text.replace(/^clock \d+: /, '')),
      burst: () => {},
      note: () => '',
      interrupt: () => {},
      streamed: () => {},
      waveLost: () => {},
    };
  }

  #traffic(traffic: typeof CALM): void {
    for (const [name, value] of Object.entries(traffic)) this.#simulator.set(name, value);
  }

  #access(kind: 'read' | 'write', offset: number, width: number, traffic: typeof CALM, low = 0, high = 0) {
    const simulator = this.#simulator;
    const before = simulator.clock;
    const outcome =
      kind === 'read' ? simulator.read(offset, width) : simulator.write(offset, width, low, high);
    const clocks = simulator.clock - before;
    if (traffic === CALM && outcome !== OUTCOME.timeout) {
      this.#fastest = Math.min(this.#fastest ?? clocks, clocks);
      this.#slowest = Math.max(this.#slowest ?? clocks, clocks);
    }
    if (outcome !== OUTCOME.okay) {
      const how = outcome === OUTCOME.timeout ? 'is not answered' : 'ends with an error response';
      this.#problems.add(`a ${kind} at 0x${offset.toString(16)} ${how}`);
    }
    return { low: simulator.low, high: simulator.high };
  }

  /** @returns false when it does not come to an end */
  #copy(
    steps: readonly CopyStep[],
    length: number,
    source: number,
    destination: number,
    traffic: typeof CALM,
  ): boolean {
    const memory = this.#memory;
    for (let i = 0; i < DESTINATION_AT; i++) memory[i] = i * 7 + (i >> 8) + length;
    memory.fill(0xee, DESTINATION_AT);
    const places = { source: MEMORY + source, destination: MEMORY + DESTINATION_AT + destination, length };
    const before = this.#simulator.clock;
    const done = steps.every((step) => this.#step(step, places));
    const clocks = this.#simulator.clock - before;
    this.#copies++;
    const which = `a copy of ${length} bytes from 0x${places.source.toString(16)} to 0x${places.destination.toString(16)}`;
    if (!done) {
      this.#problems.add(`${which} does not end`);
      return false;
    }
    const start = DESTINATION_AT + destination;
    const right =
      Buffer.compare(memory.subarray(start, start + length), memory.subarray(source, source + length)) === 0;
    const beside = [...memory.subarray(DESTINATION_AT, start), ...memory.subarray(start + length)];
    if (!right) this.#problems.add(`${which} is wrong`);
    if (beside.some((byte) => byte !== 0xee)) this.#problems.add(`${which} changes bytes beside it`);
    if (traffic === CALM) this.#best = Math.max(this.#best, length / clocks);
    return true;
  }

  /** @returns false when the design does not come to an end */
  #step(step: CopyStep, places: Places): boolean {
    const simulator = this.#simulator;
    if ('write' in step) {
      this.#access('write', numberOf(step.write), 4, PRESSURE, wordOf(step.value, places), 0);
      return true;
    }
    for (const end = simulator.clock + PATIENCE; simulator.clock < end; ) {
      const { low } = this.#access('read', numberOf(step.until), 4, PRESSURE);
      if ((low & numberOf(step.mask)) >>> 0 === numberOf(step.is) >>> 0) return true;
      simulator.run(8);
    }
    return false;
  }
}

interface Places {
  readonly source: number;
  readonly destination: number;
  readonly length: number;
}

/** Before anything runs. @throws DmaError EINVAL */
function checkRecipe(recipe: CopyRecipe): void {
  if (!hasAll(recipe, ['steps']) || !Array.isArray(recipe.steps)) {
    throw badRecipe(recipe, 'write {"steps": [...]}');
  }
  const { steps, longest } = recipe;
  if (longest !== undefined && !(Number.isInteger(longest) && longest >= 1)) {
    throw badRecipe(longest, 'write the longest copy in bytes, from 1 on');
  }
  for (const step of steps as readonly unknown[]) {
    if (hasAll(step, ['write', 'value'])) {
      numberOf(step.write);
      wordOf(step.value, { source: 0, destination: 0, length: 0 });
    } else if (hasAll(step, ['until', 'mask', 'is'])) {
      for (const value of [step.until, step.mask, step.is]) numberOf(value);
    } else throw badRecipe(step, 'write each step as {"write", "value"} or {"until", "mask", "is"}');
  }
}

function hasAll<Name extends string>(step: unknown, names: readonly Name[]): step is Record<Name, unknown> {
  return typeof step === 'object' && step !== null && names.every((name) => Object.hasOwn(step, name));
}

function wordOf(value: unknown, places: Places): number {
  if (typeof value !== 'string') return numberOf(value);
  const [name = '', half, ...more] = value.split('.');
  const known = Object.hasOwn(places, name) && (half === undefined || half === 'high') && more.length === 0;
  if (!known) return numberOf(value);
  const number = places[name as keyof Places];
  return half === 'high' ? Math.floor(number / 2 ** 32) : number >>> 0;
}

function numberOf(value: unknown): number {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number < 2 ** 32)
    return number;
  throw badRecipe(
    value,
    'write a number below 2^32, "source", "destination", "length", or one of these with ".high"',
  );
}

function badRecipe(what: unknown, remedy: string): DmaError {
  const text = typeof what === 'number' ? String(what) : JSON.stringify(what);
  return new DmaError('EINVAL', `${text} in the recipe of a copy cannot be used`, { remedy });
}
