/**
 * Device registers, reached one access at a time: a BAR of a PCI function, a map of a UIO device.
 *
 * Registers are never an ArrayBuffer: V8 drops, merges, narrows and reorders plain reads, and a logged view reads
 * the device. Each call here is exactly one access of its width, ordered after all earlier memory writes.
 */
import { describe } from '../arguments.ts';
import { DmaError, type ErrnoName } from '../errors.ts';
import { type Access, checkSteps, RegisterSequence, type RegisterStep } from './sequence.ts';
import { registerValue64 } from './values.ts';

/**
 * All methods throw DmaError: EINVAL offset outside the registers, not a multiple of the width, or a value wider than
 * the access · EPERM the host keeps these registers to itself · EIO the device did not answer · ENODEV closed, or the
 * device is gone · EOPNOTSUPP 64 bits in one access, of registers that the kernel does not map into the process.
 */
export abstract class Registers {
  /** Bytes. */
  abstract readonly size: number;

  /** One read of 8 bits (readb). @param offset bytes */
  abstract read8(offset: number): number;
  /** One read of 16 bits (readw). @param offset bytes, even */
  abstract read16(offset: number): number;
  /** One read of 32 bits (readl). @param offset bytes, a multiple of 4 */
  abstract read32(offset: number): number;
  /** One 64-bit access. */
  abstract read64(offset: number): bigint;
  /** One write of 8 bits, after all earlier stores to memory (writeb). @param offset bytes */
  abstract write8(offset: number, value: number): void;
  /** One write of 16 bits, after all earlier stores to memory (writew). @param offset bytes, even */
  abstract write16(offset: number, value: number): void;
  /** One write of 32 bits, after all earlier stores to memory (writel). @param offset bytes, a multiple of 4 */
  abstract write32(offset: number, value: number): void;
  /** One 64-bit access. */
  abstract write64(offset: number, value: bigint): void;

  /**
   * Prepare accesses that are made together, in order, by each `run` of the sequence: on hardware in one native call,
   * which costs little more than one access. A step is the name of an access, its offset, and for a write its value
   * (0 if it is left out); `set` changes the value. The list is copied.
   * @throws DmaError EINVAL not such a list, or an access that is outside or misaligned, or a value that does not fit ·
   *   EPERM the host keeps these registers to itself · ENODEV closed, or the device is gone
   */
  sequence(steps: readonly RegisterStep[]): RegisterSequence {
    const { accesses, values } = checkSteps(steps);
    for (const { offset, width, write } of accesses) {
      const error = this.accessError(offset, width, write);
      if (error !== undefined) throw error;
    }
    const sequence = this.prepare(accesses);
    sequence.fill(values);
    return sequence;
  }

  /** Two 32-bit reads, low word first, for a device that does not support 64-bit accesses. */
  read64LoHi(offset: number): bigint {
    const low = this.read32(offset);
    return (BigInt(this.read32(offset + 4)) << 32n) | BigInt(low);
  }

  /** Two 32-bit reads, high word first. */
  read64HiLo(offset: number): bigint {
    // If the offset is not a number, the read refuses it as it is.
    const high = this.read32(typeof offset === 'number' ? offset + 4 : offset);
    return (BigInt(high) << 32n) | BigInt(this.read32(offset));
  }

  /** Two 32-bit writes, low word first. A wrong value or offset is refused before the first of them. */
  write64LoHi(offset: number, value: bigint): void {
    const pattern = this.#halves(offset, value);
    this.write32(offset, Number(pattern & 0xffffffffn));
    this.write32(offset + 4, Number(pattern >> 32n));
  }

  /** Two 32-bit writes, high word first. A wrong value or offset is refused before the first of them. */
  write64HiLo(offset: number, value: bigint): void {
    const pattern = this.#halves(offset, value);
    this.write32(offset + 4, Number(pattern >> 32n));
    this.write32(offset, Number(pattern & 0xffffffffn));
  }

  /**
   * The error of an access, if its place is wrong or the registers are closed; undefined if it can be tried.
   * @internal
   */
  protected abstract accessError(offset: number, width: number, write: boolean): DmaError | undefined;

  /** A sequence of accesses that were checked. @internal */
  protected prepare(accesses: readonly Access[]): RegisterSequence {
    return new RegisterSequence(this, accesses, new ArrayBuffer(8 * accesses.length));
  }

  #halves(offset: number, value: bigint): bigint {
    const pattern = registerValue64(value);
    const error = this.accessError(offset, 4, true) ?? this.accessError(offset + 4, 4, true);
    if (error !== undefined) throw error;
    return pattern;
  }
}

/** True if an access lies inside `size` bytes of registers, and is aligned. */
export function isRegister(offset: number, width: number, size: number): boolean {
  return Number.isInteger(offset) && offset >= 0 && offset + width <= size && offset % width === 0;
}

/** The texts for the errors of some registers. */
export interface RegisterNames {
  /** `BAR 0`, `map 1 of uio0`. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** The remedy if the device does not answer. */
  readonly silence: string;
  /** The remedy for an access to registers that belong to the host. */
  readonly instead?: string;
}

/** The error of a refused register access. The texts are the same in every world. */
export function registerError(
  { name, size, silence, instead }: RegisterNames,
  offset: number,
  width: number,
  code: ErrnoName,
): DmaError {
  const what = `${width * 8}-bit access at offset ${describeOffset(offset)} of ${name}`;
  if (code === 'ENODEV') {
    return new DmaError(code, `${what}: it is closed or the device is gone`, {
      remedy: 'open the device again',
    });
  }
  if (code === 'EPERM')
    return new DmaError(code, `${what} touches registers of the host`, { remedy: instead });
  if (code === 'EOPNOTSUPP') {
    return new DmaError(
      code,
      `${what} is not possible: these registers are not mapped, and the kernel would split it`,
      {
        remedy: 'use read64LoHi or write64LoHi, which make two 32-bit accesses',
      },
    );
  }
  if (code !== 'EINVAL') return new DmaError(code, `${what} got no answer`, { remedy: silence });
  const outside = !Number.isInteger(offset) || offset < 0 || offset + width > size;
  return outside
    ? new DmaError(code, `${what} is outside its ${size} bytes`, { remedy: 'check the offset against size' })
    : new DmaError(code, `${what} is misaligned`, {
        remedy: `use an offset that is a multiple of ${width}`,
      });
}

function describeOffset(offset: number): string {
  return Number.isSafeInteger(offset) && offset >= 0 ? `0x${offset.toString(16)}` : describe(offset);
}
