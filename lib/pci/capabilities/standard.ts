/** Capabilities that conventional PCI has, too: power management, MSI, MSI-X, and vendor-specific ones. */
import { describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import { CapabilityRegisters } from './capability.ts';

/**
 * A power state that software can ask for. D3cold, a function without power, is not one of them: the slot causes it.
 */
export type SettablePowerState = 'D0' | 'D1' | 'D2' | 'D3hot';

const STATES: readonly SettablePowerState[] = ['D0', 'D1', 'D2', 'D3hot'];
const PM_CAPABILITIES = 2;
const PM_CONTROL = 4;
const PM_D1 = 1 << 9;
const PM_D2 = 1 << 10;
const PM_NO_SOFT_RESET = 1 << 3;
const PM_PME_ENABLE = 1 << 8;
const PM_PME_STATUS = 1 << 15;

/** PCI Bus Power Management 1.2, 3.2. `PciFunction.setPowerState` changes the state and waits as long as needed. */
export class PowerManagement extends CapabilityRegisters {
  static readonly bytes = 8;

  /** Version of the specification: 1 to 3; 3 is 1.2. */
  get version(): number {
    return this.read16(PM_CAPABILITIES) & 7;
  }

  /** Whether it has the power state D1. */
  get supportsD1(): boolean {
    return this.has16(PM_CAPABILITIES, PM_D1);
  }

  /** Whether it has the power state D2. */
  get supportsD2(): boolean {
    return this.has16(PM_CAPABILITIES, PM_D2);
  }

  /** The states in which the function can signal a power management event. */
  get pmeStates(): readonly (SettablePowerState | 'D3cold')[] {
    const bits = this.read16(PM_CAPABILITIES) >>> 11;
    return ([...STATES, 'D3cold'] as const).filter((_, bit) => (bits & (1 << bit)) !== 0);
  }

  /** Whether the function may send PME. */
  get pmeEnabled(): boolean {
    return this.has16(PM_CONTROL, PM_PME_ENABLE);
  }

  /** Whether the function sent PME, or would have. */
  get pmeStatus(): boolean {
    return this.has16(PM_CONTROL, PM_PME_STATUS);
  }

  /** True if the function keeps its registers on the way from D3hot to D0. */
  get noSoftReset(): boolean {
    return this.has16(PM_CONTROL, PM_NO_SOFT_RESET);
  }

  /** The power state that it is in. */
  get state(): SettablePowerState {
    return STATES[this.read16(PM_CONTROL) & 3]!;
  }

  /** True if the function has this state. Every function has D0 and D3hot. */
  supports(state: SettablePowerState): boolean {
    if (state === 'D1') return this.supportsD1;
    return state === 'D2' ? this.supportsD2 : STATES.includes(state);
  }

  /**
   * Write the state to PMCSR. The change takes effect some time later (PCI Express 5.0, 5.9).
   * @throws DmaError EINVAL the function has no such state
   */
  writeState(state: SettablePowerState): void {
    if (!this.supports(state)) {
      throw new DmaError('EINVAL', `the function has no power state ${describe(state)}`, {
        remedy: `it has ${STATES.filter((one) => this.supports(one)).join(', ')}`,
      });
    }
    // Writing 1 clears the status bit, so this write has 0 there and leaves it as it is.
    const others = this.read16(PM_CONTROL) & ~3 & ~PM_PME_STATUS;
    this.write16(PM_CONTROL, others | STATES.indexOf(state));
  }
}

const MSI_CONTROL = 2;
const MSI_ENABLE = 1 << 0;
const MSI_64BIT = 1 << 7;
const MSI_PER_VECTOR_MASK = 1 << 8;

/** Message Signalled Interrupts (PCI Local Bus 3.0, 6.8.1). The host programs them: `fn.interrupts.msi` arms one. */
export class MsiCapability extends CapabilityRegisters {
  static readonly bytes = 10;

  /** Always false through VFIO, which hides this register. `fn.interrupts.armed` lists the armed vectors. */
  get enabled(): boolean {
    return this.has16(MSI_CONTROL, MSI_ENABLE);
  }

  /** The number of vectors that the function can send: a power of two up to 32. */
  get vectors(): number {
    return 1 << ((this.read16(MSI_CONTROL) >>> 1) & 7);
  }

  /** The number of vectors that the host lets it send; 1 through VFIO. */
  get enabledVectors(): number {
    return 1 << ((this.read16(MSI_CONTROL) >>> 4) & 7);
  }

  /** True if messages can go to an address above 4 GiB. */
  get is64Bit(): boolean {
    return this.has16(MSI_CONTROL, MSI_64BIT);
  }

  /** Whether vectors can be masked one by one. */
  get perVectorMask(): boolean {
    return this.has16(MSI_CONTROL, MSI_PER_VECTOR_MASK);
  }
}

const MSIX_CONTROL = 2;
const MSIX_TABLE = 4;
const MSIX_PENDING = 8;
const MSIX_FUNCTION_MASK = 1 << 14;
const MSIX_ENABLE = 1 << 15;
const MSIX_ENTRY = 16;

/** A range of bytes in a BAR. */
export interface BarRange {
  readonly bar: number;
  /** Offset of its first byte in the BAR. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
}

/**
 * MSI-X (PCI Local Bus 3.0, 6.8.2). The host owns the table and the pending bits: a BAR refuses accesses to the
 * table, and writes to the pending bits. `fn.interrupts.msix` arms a vector.
 */
export class MsixCapability extends CapabilityRegisters {
  static readonly bytes = 12;

  /** Whether MSI-X is on. */
  get enabled(): boolean {
    return this.has16(MSIX_CONTROL, MSIX_ENABLE);
  }

  /** True if all vectors are masked at once. */
  get functionMask(): boolean {
    return this.has16(MSIX_CONTROL, MSIX_FUNCTION_MASK);
  }

  /** Entries of the table: 1 to 2048. */
  get vectors(): number {
    return (this.read16(MSIX_CONTROL) & 0x7ff) + 1;
  }

  /** The place of the table, 16 bytes for each vector. */
  get table(): BarRange {
    return this.#range(MSIX_TABLE, MSIX_ENTRY * this.vectors);
  }

  /** The place of the pending bits, one bit for each vector, in units of 8 bytes. */
  get pending(): BarRange {
    return this.#range(MSIX_PENDING, 8 * Math.ceil(this.vectors / 64));
  }

  #range(register: number, size: number): BarRange {
    const value = this.read32(register);
    return { bar: value & 7, offset: (value & ~7) >>> 0, size };
  }
}

/**
 * A vendor-specific capability (PCI Local Bus 3.0, 6.7 and appendix H): id, next, length, then the vendor's own
 * bytes.
 */
export class VendorCapability extends CapabilityRegisters {
  static readonly bytes = 3;

  /** The size in bytes, with the three bytes of the header. */
  get size(): number {
    return this.config.read8(this.offset + 2);
  }

  /** 8, 16 and 32 bits at offset `register` from its start. @throws DmaError EINVAL outside, or misaligned */
  read8(register: number): number {
    this.#check(register, 1);
    return this.config.read8(this.offset + register);
  }

  /** 16 bits of the capability. The offset is in bytes from its start. */
  override read16(register: number): number {
    this.#check(register, 2);
    return super.read16(register);
  }

  /** 32 bits of the capability. The offset is in bytes from its start. */
  override read32(register: number): number {
    this.#check(register, 4);
    return super.read32(register);
  }

  #check(register: number, width: number): void {
    const { size } = this;
    if (Number.isInteger(register) && register >= 0 && register + width <= size) return;
    throw new DmaError(
      'EINVAL',
      `${8 * width} bits at ${describe(register)} of a vendor's capability of ${size} bytes`,
      { remedy: 'its size says how many it has' },
    );
  }
}
