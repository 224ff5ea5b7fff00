/** Registers of real hardware. The native side checks bounds, alignment and width, and survives a bus error. */
import { type DmaError, errnoName } from '../errors.ts';
import type { Handle, MmioFunctions } from '../native/addon.ts';
import { type Frame, frameOf, HANDLE, OFFSET, VALUE, WIDE_VALUE } from './frame.ts';
import { MappedSequence, prepareMapped } from './mapped-sequence.ts';
import { isRegister, type RegisterNames, Registers, registerError } from './registers.ts';
import type { Access } from './sequence.ts';
import { registerValue, registerValue64 } from './values.ts';

/** Registers that are mapped into the process and reached by the addon. */
export class MappedRegisters extends Registers {
  readonly size: number;
  readonly #names: RegisterNames;
  readonly #native: MmioFunctions;
  readonly #window: Handle;
  readonly #frame: Frame;

  /** @param window over all of the registers; the caller keeps owning it */
  constructor(names: RegisterNames, native: MmioFunctions, window: Handle) {
    super();
    this.size = names.size;
    this.#names = names;
    this.#native = native;
    this.#window = window;
    this.#frame = frameOf(native);
  }

  read8(offset: number): number {
    this.#locate(offset, 1);
    const result = this.#native.mmioRead8();
    if (result !== undefined) throw this.#error(result, offset, 1);
    return this.#frame.words[VALUE]!;
  }

  read16(offset: number): number {
    this.#locate(offset, 2);
    const result = this.#native.mmioRead16();
    if (result !== undefined) throw this.#error(result, offset, 2);
    return this.#frame.words[VALUE]!;
  }

  read32(offset: number): number {
    this.#locate(offset, 4);
    const result = this.#native.mmioRead32();
    if (result !== undefined) throw this.#error(result, offset, 4);
    return this.#frame.words[VALUE]!;
  }

  read64(offset: number): bigint {
    this.#locate(offset, 8);
    const result = this.#native.mmioRead64();
    if (result !== undefined) throw this.#error(result, offset, 8);
    return this.#frame.wide[WIDE_VALUE]!;
  }

  write8(offset: number, value: number): void {
    this.#frame.words[VALUE] = registerValue(value, 1);
    this.#locate(offset, 1);
    const result = this.#native.mmioWrite8();
    if (result !== undefined) throw this.#error(result, offset, 1);
  }

  write16(offset: number, value: number): void {
    this.#frame.words[VALUE] = registerValue(value, 2);
    this.#locate(offset, 2);
    const result = this.#native.mmioWrite16();
    if (result !== undefined) throw this.#error(result, offset, 2);
  }

  write32(offset: number, value: number): void {
    this.#frame.words[VALUE] = registerValue(value, 4);
    this.#locate(offset, 4);
    const result = this.#native.mmioWrite32();
    if (result !== undefined) throw this.#error(result, offset, 4);
  }

  write64(offset: number, value: bigint): void {
    this.#frame.wide[WIDE_VALUE] = registerValue64(value);
    this.#locate(offset, 8);
    const result = this.#native.mmioWrite64();
    if (result !== undefined) throw this.#error(result, offset, 8);
  }

  protected accessError(offset: number, width: number, _write: boolean): DmaError | undefined {
    if (isRegister(offset, width, this.size)) return undefined;
    return registerError(this.#names, offset, width, 'EINVAL');
  }

  protected override prepare(accesses: readonly Access[]): MappedSequence {
    const memory = prepareMapped(this.#native, this.#window, accesses);
    if (typeof memory === 'number') {
      const { offset, width } = accesses[0]!;
      throw this.#error(memory, offset, width);
    }
    return new MappedSequence(this, this.#native, this.#frame, accesses, memory, (errno, { offset, width }) =>
      this.#error(errno, offset, width),
    );
  }

  #locate(offset: number, width: number): void {
    if (typeof offset !== 'number') throw this.#error(-EINVAL, offset, width);
    const { numbers } = this.#frame;
    numbers[HANDLE] = this.#window;
    numbers[OFFSET] = offset;
  }

  #error(errno: number, offset: number, width: number): DmaError {
    const code = errnoName(errno);
    return registerError(this.#names, offset, width, code === 'EBADF' ? 'ENODEV' : code);
  }
}

const EINVAL = 22;
