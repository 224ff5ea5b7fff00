/** What a decoded capability is made of: its place in configuration space, and flags of its registers. */
import type { ConfigSpace } from '../config-space.ts';

/** One capability at its offset. Every property of the classes below it reads the device. */
export abstract class CapabilityRegisters {
  /** Of its first byte in configuration space. */
  readonly offset: number;
  protected readonly config: ConfigSpace;

  constructor(config: ConfigSpace, offset: number) {
    this.config = config;
    this.offset = offset;
  }

  protected read16(register: number): number {
    return this.config.read16(this.offset + register);
  }

  protected read32(register: number): number {
    return this.config.read32(this.offset + register);
  }

  protected write16(register: number, value: number): void {
    this.config.write16(this.offset + register, value);
  }

  protected write32(register: number, value: number): void {
    this.config.write32(this.offset + register, value);
  }

  protected has16(register: number, bit: number): boolean {
    return (this.read16(register) & bit) !== 0;
  }

  protected has32(register: number, bit: number): boolean {
    return (this.read32(register) & bit) !== 0;
  }
}
