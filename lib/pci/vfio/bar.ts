/** A BAR of real hardware. The native side checks bounds, alignment and width, and survives a bus error. */
import { DmaError, errnoName } from '../../errors.ts';
import { Type1Window } from '../../iommu/type1.ts';
import type { Handle, MmioFunctions } from '../../native/addon.ts';
import { Bar, type BarInfo, barAccessError, registerValue } from '../bar.ts';

export class VfioBar extends Bar {
  readonly #native: MmioFunctions;
  readonly #window: Handle;
  readonly #forDma: Type1Window | undefined;

  /** @param window over all of the BAR; it stays its owner's */
  constructor(info: BarInfo, native: MmioFunctions, window: Handle) {
    super(info);
    this.#native = native;
    this.#window = window;
    this.#forDma = info.kind === 'memory' ? new Type1Window(info.size, window) : undefined;
  }

  override get window(): Type1Window | undefined {
    return this.#forDma;
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

  #checked(result: number, offset: number, width: number): number {
    if (result < 0) throw this.#error(result, offset, width);
    return result;
  }

  #error(errno: number, offset: number, width: number): DmaError {
    const code = errnoName(errno);
    return barAccessError(this.info, offset, width, code === 'EBADF' ? 'ENODEV' : code);
  }
}

/** As `registerValue`: the bit pattern, negative values included. */
function registerValue64(value: bigint): bigint {
  const pattern = typeof value === 'bigint' ? BigInt.asUintN(64, value) : undefined;
  if (pattern !== undefined && (pattern === value || BigInt.asIntN(64, value) === value)) return pattern;
  throw new DmaError('EINVAL', `${String(value)} does not fit a 64-bit register`, {
    remedy: 'pass a bigint below 2^64',
  });
}
