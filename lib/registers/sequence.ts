/**
 * Sequences: register accesses that are prepared once, filled with values, and made in one call (regmap_multi_reg_write,
 * struct reg_sequence).
 *
 * Each step is one access of its width, in the order of the list, as the same call of `Registers` would make it. The
 * first step that fails ends the run. This class makes the accesses one by one; for mapped registers the addon makes
 * all of them in one native call (mapped-sequence.ts).
 */
import { argumentError, describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import type { Registers } from './registers.ts';
import { registerValue, registerValue64 } from './values.ts';

/** One access of a sequence: the method of `Registers`, the offset, and for a write the value (0 if it is left out). */
export type RegisterStep =
  | readonly [access: 'read8' | 'read16' | 'read32' | 'read64', offset: number]
  | readonly [access: 'write8' | 'write16' | 'write32', offset: number, value?: number]
  | readonly [access: 'write64', offset: number, value?: bigint];

/** A step without its value. */
export interface Access {
  readonly name: RegisterStep[0];
  readonly offset: number;
  /** Bytes. */
  readonly width: 1 | 2 | 4 | 8;
  readonly write: boolean;
}

const WIDTHS: Readonly<Record<RegisterStep[0], Access['width']>> = {
  read8: 1,
  read16: 2,
  read32: 4,
  read64: 8,
  write8: 1,
  write16: 2,
  write32: 4,
  write64: 8,
};

/** The kernel's own lists of registers are much shorter. */
const MOST = 65_536;

/**
 * A prepared list of register accesses. `Registers.sequence` makes one. A sequence needs no end: it is garbage when the
 * program drops it. After its registers were closed, `run` throws ENODEV.
 */
export class RegisterSequence {
  /** @internal */
  protected readonly accesses: readonly Access[];
  /** @internal Two words for each step, the lower one first. */
  protected readonly words: Uint32Array;
  /** @internal */
  protected readonly wide: BigUint64Array;
  readonly #registers: Registers;
  /** For each step: the largest value of a write of up to 32 bits, otherwise -1. */
  private readonly limits: Float64Array;
  /** The number of steps at the start that are writes of 32 bits: their values need no limit. */
  private readonly plain: number;
  /** @internal */
  protected made = 0;

  /**
   * @internal
   * @param memory of the values, 8 bytes for each step from `start` on
   */
  constructor(registers: Registers, accesses: readonly Access[], memory: ArrayBuffer, start = 0) {
    this.#registers = registers;
    this.accesses = accesses;
    this.words = new Uint32Array(memory, start);
    this.wide = new BigUint64Array(memory, start);
    this.limits = Float64Array.from(accesses, ({ width, write }) =>
      write && width < 8 ? 2 ** (8 * width) - 1 : -1,
    );
    const other = accesses.findIndex(({ name }) => name !== 'write32');
    this.plain = other < 0 ? accesses.length : other;
  }

  /** @internal The first values. */
  fill(values: readonly bigint[]): void {
    this.wide.set(values);
  }

  /** The number of steps. */
  get length(): number {
    return this.accesses.length;
  }

  /** The number of steps that the last run made: all of them, or those before the step that failed. */
  get done(): number {
    return this.made;
  }

  /**
   * The value that step `index` will write, of 8 to 32 bits. It stays until it is set again.
   * @throws DmaError EINVAL the step is no such write, or the value does not fit
   */
  set(index: number, value: number): void {
    // Most values are right and not negative: V8 can put this much of it into the loop of a driver.
    const right =
      typeof index === 'number' &&
      typeof value === 'number' &&
      index >>> 0 === index &&
      value >>> 0 === value;
    if (right && (index < this.plain || value <= this.limits[index]!)) this.words[2 * index] = value;
    else this.setOther(index, value);
  }

  /** As `set`, for a write of 64 bits. @throws DmaError EINVAL the step is no such write, or the value does not fit */
  set64(index: number, value: bigint): void {
    const access = this.#access(index);
    if (access.name !== 'write64') throw wrongStep(index, access, 'a write of 64 bits');
    this.wide[index] = registerValue64(value);
  }

  /**
   * The value of step `index`, of 8 to 32 bits: for a read, what the last run read (0 before it), for a write, what it
   * writes.
   * @throws DmaError EINVAL there is no such step, or it has 64 bits
   */
  get(index: number): number {
    const access = this.#access(index);
    if (access.width === 8) throw wrongStep(index, access, 'an access of 8 to 32 bits');
    return this.words[2 * index]!;
  }

  /** As `get`, for 64 bits. @throws DmaError EINVAL there is no such step, or it has fewer bits */
  get64(index: number): bigint {
    const access = this.#access(index);
    if (access.width !== 8) throw wrongStep(index, access, 'an access of 64 bits');
    return this.wide[index]!;
  }

  /**
   * Make all accesses, in order. Values that were read before a failure are there.
   * @throws DmaError of the first access that fails, with the same code as a single access; the message says which
   *   step it was, and `done` how many steps were made before it. The codes are EPERM, EIO, ENODEV and EOPNOTSUPP, as
   *   for every access of `Registers`
   */
  run(): void {
    this.made = 0;
    for (let index = 0; index < this.accesses.length; index++) {
      try {
        this.#perform(index, this.accesses[index]!);
      } catch (error) {
        throw error instanceof DmaError ? this.failure(index, error) : error;
      }
      this.made++;
    }
  }

  #perform(index: number, { name, offset }: Access): void {
    const registers = this.#registers;
    switch (name) {
      case 'read64':
        this.wide[index] = registers.read64(offset);
        break;
      case 'write64':
        registers.write64(offset, this.wide[index]!);
        break;
      case 'write8':
      case 'write16':
      case 'write32':
        registers[name](offset, this.words[2 * index]!);
        break;
      default:
        this.words[2 * index] = registers[name](offset);
    }
  }

  /** @internal The error of a run that made so many steps before it failed. */
  protected failure(index: number, cause: DmaError): DmaError {
    const where = `step ${index} of ${this.length} (${this.accesses[index]?.name ?? 'none'})`;
    return new DmaError(cause.code, `${where}: ${cause.message}`, { cause, syscall: cause.syscall });
  }

  /** A value below zero, or one that is refused. */
  private setOther(index: number, value: number): void {
    const access = this.#access(index);
    const { write, width } = access;
    if (!write || width === 8) throw wrongStep(index, access, 'a write of 8 to 32 bits');
    this.words[2 * index] = registerValue(value, width);
  }

  #access(index: number): Access {
    const access = typeof index === 'number' ? this.accesses[index] : undefined;
    if (access !== undefined) return access;
    throw argumentError('the step', index, `the sequence has ${this.length} steps, and the first is 0`);
  }
}

/** The accesses of `steps`, with their values. @throws DmaError EINVAL a step is no access, or its value does not fit */
export function checkSteps(steps: readonly RegisterStep[]): {
  readonly accesses: Access[];
  readonly values: bigint[];
} {
  if (!Array.isArray(steps) || steps.length === 0 || steps.length > MOST) {
    throw argumentError(
      'the steps',
      steps,
      `pass an array of 1 to ${MOST} steps, e.g. [['write32', 0x10, 1]]`,
    );
  }
  // The caller's arrays are read once, and copied: they may change later.
  const checked = Array.from(steps as readonly unknown[], checkStep);
  return { accesses: checked.map(({ access }) => access), values: checked.map(({ value }) => value) };
}

function checkStep(step: unknown, index: number): { access: Access; value: bigint } {
  if (!Array.isArray(step)) throw badStep(index, step);
  const [name, offset, value] = step as [RegisterStep[0], number, unknown];
  if (typeof name !== 'string' || !Object.hasOwn(WIDTHS, name)) throw badStep(index, step);
  const access: Access = { name, offset, width: WIDTHS[name], write: name.startsWith('write') };
  if (value === undefined) return { access, value: 0n };
  if (!access.write) throw badStep(index, step);
  const { width } = access;
  const pattern =
    width === 8 ? registerValue64(value as bigint) : BigInt(registerValue(value as number, width));
  return { access, value: pattern };
}

function badStep(index: number, step: unknown): DmaError {
  return argumentError(
    `step ${index}`,
    step,
    `pass the name of an access, an offset, and for a write a value: ['write32', 0x10, 1]`,
  );
}

function wrongStep(index: number, { name, offset }: Access, wanted: string): DmaError {
  return new DmaError('EINVAL', `step ${index}, a ${name} at ${describe(offset)}, is not ${wanted}`, {
    remedy: 'use set and get for up to 32 bits, set64 and get64 for 64 bits, and set writes only',
  });
}
