/** A sequence of accesses of mapped registers: one native call makes all of them (native/mmio_sequence.cc). */
import type { DmaError } from '../errors.ts';
import type { Handle, MmioFunctions } from '../native/addon.ts';
import { type Frame, HANDLE, VALUE } from './frame.ts';
import type { Registers } from './registers.ts';
import { type Access, RegisterSequence } from './sequence.ts';

/** Added to the width of an access that writes. */
const WRITE = 16;
/** Bytes of the handle in front of the values. */
const HEAD = 8;

/** The memory of a sequence: its handle and its values; a number below 0 is -errno. */
export function prepareMapped(
  native: MmioFunctions,
  window: Handle,
  accesses: readonly Access[],
): ArrayBuffer | number {
  const numbers = accesses.flatMap(({ width, write, offset }) => [write ? width + WRITE : width, offset]);
  return native.mmioSequence(window, Float64Array.from(numbers).buffer);
}

/** The error of an access that failed. */
type ErrorOf = (errno: number, access: Access) => DmaError;

/** A sequence whose accesses the addon makes. */
export class MappedSequence extends RegisterSequence {
  // Ordinary fields, as CONTRIBUTING.md allows for what is called in a driver's loop.
  private readonly native: MmioFunctions;
  private readonly frame: Frame;
  private readonly handle: Handle;
  private readonly errorOf: ErrorOf;

  /** @param memory as `prepareMapped` made it */
  constructor(
    registers: Registers,
    native: MmioFunctions,
    frame: Frame,
    accesses: readonly Access[],
    memory: ArrayBuffer,
    errorOf: ErrorOf,
  ) {
    super(registers, accesses, memory, HEAD);
    this.native = native;
    this.frame = frame;
    this.handle = new Float64Array(memory, 0, 1)[0]!;
    this.errorOf = errorOf;
  }

  override run(): void {
    this.frame.numbers[HANDLE] = this.handle;
    const result = this.native.mmioRun();
    if (result !== undefined) throw this.failed(result);
    this.made = this.accesses.length;
  }

  private failed(errno: number): DmaError {
    this.made = this.frame.words[VALUE]!;
    return this.failure(this.made, this.errorOf(errno, this.accesses[this.made]!));
  }
}
