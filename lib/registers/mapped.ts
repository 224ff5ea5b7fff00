/** Registers of real hardware. The native side checks bounds, alignment and width, and survives a bus error. */
import { type DmaError, errnoName } from '../errors.ts';
import type { Handle, MmioFunctions } from '../native/addon.ts';
import {
  isRegister,
  type RegisterNames,
  Registers,
  registerError,
  registerValue,
  registerValue64,
} from './registers.ts';

/** Registers that are mapped into the process and reached by the addon. */
export class MappedRegisters extends Registers {
  readonly size: number;
  readonly #names: RegisterNames;
  readonly #native: MmioFunctions;
  readonly #window: Handle;

  /** @param window over all of the registers; the caller keeps owning it */
  constructor(names: RegisterNames, native: MmioFunctions, window: Handle) {
    super();
    this.size = names.size;
    this.#names = names;
    this.#native = native;
    this.#window = window;
  }

  read8(offset: number): number {
    return this.#checked(this.#native.mmioRead8(this.#window, offset), offset, 1);
  }

  read16(offset: number): number {
    return this.#checked(this.#native.mmioRead16(this.#window, offset), offset, 2);
  }

  read32(offset: number): number {
    return this.#checked(this.#native.mmioRead32(this.#window, offset), offset, 4);
  }

  read64(offset: number): bigint {
    const value = this.#native.mmioRead64(this.#window, offset);
    if (typeof value === 'bigint') return value;
    throw this.#error(value, offset, 8);
  }

  write8(offset: number, value: number): void {
    this.#checked(this.#native.mmioWrite8(this.#window, offset, registerValue(value, 1)), offset, 1);
  }

  write16(offset: number, value: number): void {
    this.#checked(this.#native.mmioWrite16(this.#window, offset, registerValue(value, 2)), offset, 2);
  }

  write32(offset: number, value: number): void {
    this.#checked(this.#native.mmioWrite32(this.#window, offset, registerValue(value, 4)), offset, 4);
  }

  write64(offset: number, value: bigint): void {
    this.#checked(this.#native.mmioWrite64(this.#window, offset, registerValue64(value)), offset, 8);
  }

  protected writeError(offset: number, width: number): DmaError | undefined {
    if (isRegister(offset, width, this.size)) return undefined;
    return registerError(this.#names, offset, width, 'EINVAL');
  }

  #checked(result: number, offset: number, width: number): number {
    if (result < 0) throw this.#error(result, offset, width);
    return result;
  }

  #error(errno: number, offset: number, width: number): DmaError {
    const code = errnoName(errno);
    return registerError(this.#names, offset, width, code === 'EBADF' ? 'ENODEV' : code);
  }
}
