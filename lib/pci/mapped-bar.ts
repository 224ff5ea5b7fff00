/** A BAR of real hardware, however it was mapped. */
import type { Handle, MmioFunctions } from '../native/addon.ts';
import { MappedRegisters } from '../registers/mapped.ts';
import { Bar, type BarInfo, barNames } from './bar.ts';

export class MappedBar extends Bar {
  readonly #registers: MappedRegisters;

  /** @param window over all of the BAR; it stays its owner's */
  constructor(info: BarInfo, native: MmioFunctions, window: Handle) {
    super(info);
    this.#registers = new MappedRegisters(barNames(info), native, window);
  }

  read8(offset: number): number {
    return this.#registers.read8(offset);
  }

  read16(offset: number): number {
    return this.#registers.read16(offset);
  }

  read32(offset: number): number {
    return this.#registers.read32(offset);
  }

  read64(offset: number): bigint {
    return this.#registers.read64(offset);
  }

  write8(offset: number, value: number): void {
    this.#registers.write8(offset, value);
  }

  write16(offset: number, value: number): void {
    this.#registers.write16(offset, value);
  }

  write32(offset: number, value: number): void {
    this.#registers.write32(offset, value);
  }

  write64(offset: number, value: bigint): void {
    this.#registers.write64(offset, value);
  }
}
